// Runs the library of an artifact once, with TVM's runtime and without Python.
//
// cpp_runtime LIBRARY.so INPUT.bin OUTPUT.bin: one float32 input, one output, as plain numbers.
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

constexpr int kPooled = 2;  // the allocator of the virtual machine that keeps its memory

// Memory for a tensor, aligned for every vector instruction.
struct AlignedMemory {
  void AllocData(DLTensor* tensor) {
    constexpr std::size_t kAlignment = 64;
    const std::size_t bytes = ffi::GetDataSize(*tensor);
    const std::size_t room = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    tensor->data = std::aligned_alloc(kAlignment, room);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

std::vector<char> Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The virtual machine in the library, ready to run on the CPU.
ffi::Module LoadMachine(const std::string& path) {
  ffi::Module library = ffi::Module::LoadFromFile(path);
  ffi::Module machine =
      library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
  machine->GetFunction("vm_initialization").value()(
      static_cast<int>(kDLCPU), 0, kPooled, static_cast<int>(kDLCPU), 0, kPooled);
  return machine;
}

int Run(const std::string& library, const std::string& input, const std::string& output) {
  ffi::Module machine = LoadMachine(library);
  const std::vector<char> bytes = Read(input);
  const int64_t elements = static_cast<int64_t>(bytes.size() / sizeof(float));
  // Every input and output is one flat row of numbers.
  ffi::Tensor x = ffi::Tensor::FromNDAlloc(AlignedMemory(), ffi::Shape({elements}),
                                           DLDataType{kDLFloat, 32, 1}, DLDevice{kDLCPU, 0});
  std::copy(bytes.begin(), bytes.end(), static_cast<char*>(x.data_ptr()));
  ffi::Tensor y = machine->GetFunction("main").value()(x).cast<ffi::Tensor>();
  const DLTensor* result = y.GetDLTensorPtr();
  std::ofstream file(output, std::ios::binary);
  file.write(static_cast<const char*>(result->data),
             static_cast<std::streamsize>(ffi::GetDataSize(*result)));
  file.close();
  if (!file) throw std::runtime_error(output + ": cannot be written");
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: cpp_runtime LIBRARY.so INPUT.bin OUTPUT.bin\n";
    return 2;
  }
  try {
    return Run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::cerr << "cpp_runtime: error: " << error.what() << "\n";
    return 1;
  }
}
