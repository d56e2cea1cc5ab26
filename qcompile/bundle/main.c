/* Runs the model on its golden input and compares: exits 0 where every output is as it must be. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "golden.h"
#include "model.h"

/* Equal, or both not a number, or within the bound of an output that float kernels computed. */
static int close_enough(double expected, double got, double bound) {
  if (expected == got || (isnan(expected) && isnan(got))) return 1;
  return fabs(expected - got) <= bound;
}

static size_t differences(const golden_output* output) {
  size_t count = 0;
  for (size_t i = 0; i < output->elements; i++) {
    const size_t at = i * output->element_bytes;
    if (output->kind == GOLDEN_FLOAT32) {
      const float* expected = (const float*)output->expected;
      const float* got = (const float*)output->got;
      count += !close_enough(expected[i], got[i], output->bound);
    } else if (output->kind == GOLDEN_FLOAT64) {
      const double* expected = (const double*)output->expected;
      const double* got = (const double*)output->got;
      count += !close_enough(expected[i], got[i], output->bound);
    } else {
      const char* expected = (const char*)output->expected;
      const char* got = (const char*)output->got;
      count += memcmp(expected + at, got + at, output->element_bytes) != 0;
    }
  }
  return count;
}

int main(void) {
  int status = 0;
  if (model_init()) {
    fprintf(stderr, "this CPU lacks instructions that the model needs: %s\n", MODEL_FEATURES);
    return 1;
  }
  model_run(golden_inputs, golden_got);
  for (size_t i = 0; i < MODEL_OUTPUTS; i++) {
    const golden_output* output = &golden_outputs[i];
    const size_t count = differences(output);
    printf("%s: %lu of %lu values differ", output->name, (unsigned long)count,
           (unsigned long)output->elements);
    if (output->bound > 0) printf(" by more than %g", output->bound);
    printf("\n");
    if (count) status = 1;
  }
  return status;
}
