// A tensor with a name, as state, checkpoints and broadcasts list them.
#ifndef HEADRACE_MODEL_NAMED_TENSOR_H_
#define HEADRACE_MODEL_NAMED_TENSOR_H_

#include <string>

#include "ATen/core/Tensor.h"

namespace headrace {

struct NamedTensor {
  std::string name;  // "actor/layer0/weight"
  at::Tensor tensor;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_NAMED_TENSOR_H_
