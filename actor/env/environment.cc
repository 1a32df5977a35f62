#include "actor/env/environment.h"

namespace headrace {
namespace {

size_t BytesPerElement(v1::DataType data_type) {
  switch (data_type) {
    case v1::FLOAT64:
    case v1::INT64:
      return 8;
    case v1::FLOAT32:
    case v1::INT32:
      return 4;
    case v1::BFLOAT16:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

size_t ArraySpec::elements() const {
  size_t elements = 1;
  for (uint32_t dimension : shape) elements *= dimension;
  return elements;
}

size_t ArraySpec::bytes() const { return elements() * BytesPerElement(data_type); }

}  // namespace headrace
