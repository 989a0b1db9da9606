// The two ways in which a model's output can be refused, as C++ exceptions that Python sees as its own classes.
#pragma once

#include <stdexcept>

namespace lineside {

// NaN or infinity where a number is needed.
struct NonFinite : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A tensor whose shape or content breaks the head contract.
struct OutOfContract : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace lineside
