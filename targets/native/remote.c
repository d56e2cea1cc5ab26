/* The model as functions that TVM's RPC server can call: model_run(inputs..., outputs...). */
#include <stdint.h>

#include "model.h"

enum { INTEGER = 1, PLAIN_TENSOR = 7, COUNTED_TENSOR = 70, COUNTED_HEADER = 24 };

typedef struct {
  int32_t kind;
  uint32_t zero;
  union {
    int64_t integer;
    char* pointer;
  } is;
} any;

/* A tensor begins with the address of its elements; one that is counted, behind its header. */
static void* elements(const any* value) {
  char* const tensor = value->is.pointer + (value->kind == COUNTED_TENSOR ? COUNTED_HEADER : 0);
  return *(void**)tensor;
}

int __tvm_ffi_model_run(void* self, const any* arguments, int32_t count, any* result) {
  const void* inputs[MODEL_INPUTS + 1];
  void* outputs[MODEL_OUTPUTS + 1];
  (void)self;
  if (count != MODEL_INPUTS + MODEL_OUTPUTS) return -1;
  for (int i = 0; i < MODEL_INPUTS; i++) inputs[i] = elements(&arguments[i]);
  for (int i = 0; i < MODEL_OUTPUTS; i++) outputs[i] = elements(&arguments[MODEL_INPUTS + i]);
  model_run(inputs, outputs);
  result->kind = 0;
  return 0;
}

extern const int model_calls;

int __tvm_ffi_model_calls(void* self, const any* arguments, int32_t count, any* result) {
  (void)self;
  (void)arguments;
  if (count != 0) return -1;
  result->kind = INTEGER;
  result->zero = 0;
  result->is.integer = model_calls;
  return 0;
}

void model_profile(const void* const inputs[], void* const outputs[], double seconds[]);

int __tvm_ffi_model_profile(void* self, const any* arguments, int32_t count, any* result) {
  const void* inputs[MODEL_INPUTS + 1];
  void* outputs[MODEL_OUTPUTS + 1];
  (void)self;
  if (count != MODEL_INPUTS + MODEL_OUTPUTS + 1) return -1;
  for (int i = 0; i < MODEL_INPUTS; i++) inputs[i] = elements(&arguments[i]);
  for (int i = 0; i < MODEL_OUTPUTS; i++) outputs[i] = elements(&arguments[MODEL_INPUTS + i]);
  model_profile(inputs, outputs, elements(&arguments[MODEL_INPUTS + MODEL_OUTPUTS]));
  result->kind = 0;
  return 0;
}

void model_threads(int count);

int __tvm_ffi_model_threads(void* self, const any* arguments, int32_t count, any* result) {
  (void)self;
  if (count != 1) return -1;
  model_threads((int)arguments[0].is.integer);
  result->kind = 0;
  return 0;
}
