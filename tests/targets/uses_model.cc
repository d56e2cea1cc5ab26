// A C++ program that uses a bundle: unaligned arrays, guards around the output, two runs.
#include <cstdio>
#include <cstring>
#include <vector>

#include "golden.h"
#include "model.h"

int main() {
  const std::size_t guard = 64, shift = 3;
  std::vector<char> input(MODEL_INPUT_0_BYTES + shift);
  std::vector<char> output(guard + shift + MODEL_OUTPUT_0_BYTES + guard, 'g');
  const std::vector<char> untouched = output;
  std::memcpy(&input[shift], golden_inputs[0], MODEL_INPUT_0_BYTES);
  const void* const inputs[] = {&input[shift]};
  void* const outputs[] = {&output[guard + shift]};
  if (model_init()) return 2;
  std::vector<char> first;
  for (int run = 0; run < 2; run++) {
    model_run(inputs, outputs);
    if (run == 0) first = output;
  }
  const char* got = &output[guard + shift];
  if (first != output) return 3;
  if (std::memcmp(got, golden_outputs[0].expected, MODEL_OUTPUT_0_BYTES)) return 4;
  if (std::memcmp(&output[0], &untouched[0], guard + shift)) return 5;
  if (std::memcmp(got + MODEL_OUTPUT_0_BYTES, &untouched[0], guard)) return 6;
  return golden_got[0] == nullptr;
}
