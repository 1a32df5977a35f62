#include "tests/golden/golden.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "ATen/ops/tensor.h"
#include "c10/util/Exception.h"
#include "google/protobuf/text_format.h"
#include "tests/golden/golden.pb.h"

namespace headrace {

std::map<std::string, at::Tensor> ReadGolden(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  golden::Tensors tensors;
  TORCH_CHECK(file && google::protobuf::TextFormat::ParseFromString(text.str(), &tensors), "cannot read ", path);
  std::map<std::string, at::Tensor> result;
  for (const golden::Tensor& tensor : tensors.tensors()) {
    const std::vector<int64_t> shape(tensor.shape().begin(), tensor.shape().end());
    result[tensor.name()] =
        at::tensor(std::vector<double>(tensor.values().begin(), tensor.values().end()), at::kDouble).view(shape);
  }
  return result;
}

}  // namespace headrace
