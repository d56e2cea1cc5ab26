// Runs the library of an artifact once: one float32 input, one output, as plain numbers.
//
// cpp_runtime LIBRARY.so INPUT.bin OUTPUT.bin [THREADS]
#include <dlfcn.h>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using Run = void(const void* const inputs[], void* const outputs[]);
using Threads = void(int);

// A symbol of the library.
template <typename T>
T* Find(void* library, const char* name) {
  void* const found = dlsym(library, name);
  if (!found) throw std::runtime_error(std::string("the library has no ") + name);
  return reinterpret_cast<T*>(found);
}

// How many numbers the first line of the interface that begins with `kind` stands for.
std::size_t Elements(const char* interface, const std::string& kind) {
  std::istringstream lines(interface);
  for (std::string first, dtype, shape, name;
       lines >> first >> dtype >> shape && std::getline(lines, name);) {
    if (first != kind) continue;
    if (dtype != "float32") throw std::runtime_error("the " + kind + " is " + dtype);
    std::size_t count = 1;
    std::istringstream sizes(shape);
    for (std::string size; std::getline(sizes, size, ',');) {
      if (size != "-") count *= std::stoul(size);  // "-": a single number
    }
    return count;
  }
  throw std::runtime_error("the library has no " + kind);
}

std::vector<char> Read(const std::string& path, std::size_t bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  std::vector<char> data{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (data.size() != bytes) {
    throw std::runtime_error(path + ": the model takes " + std::to_string(bytes) + " bytes");
  }
  return data;
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: cpp_runtime LIBRARY.so INPUT.bin OUTPUT.bin [THREADS]\n";
    return 2;
  }
  try {
    void* const library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    const char* const interface = Find<const char>(library, "model_interface");
    const std::vector<char> input = Read(argv[2], Elements(interface, "input") * sizeof(float));
    std::vector<char> output(Elements(interface, "output") * sizeof(float));
    Find<Threads>(library, "model_threads")(argc == 5 ? std::atoi(argv[4]) : 1);
    const void* const inputs[] = {input.data()};
    void* const outputs[] = {output.data()};
    Find<Run>(library, "model_run")(inputs, outputs);
    std::ofstream file(argv[3], std::ios::binary);
    file.write(output.data(), static_cast<std::streamsize>(output.size()));
    file.close();
    if (!file) throw std::runtime_error(std::string(argv[3]) + ": cannot be written");
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "cpp_runtime: error: " << error.what() << "\n";
    return 1;
  }
}
