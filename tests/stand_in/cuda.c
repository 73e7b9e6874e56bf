// A stand-in for NVIDIA's driver and the libraries of CUDA 13. ONNX Runtime's CUDA provider runs on it without a GPU.
// GPU memory is main memory, and copies are real. Calls succeed, except for lack of memory or as set below. Kernels compute
// nothing: each result copied from a GPU has the same numbers. So tests see where the provider runs a graph, how it handles
// too little memory and several GPUs, but no vectors.
//
// The library has the name of the driver's; CUDA's libraries beside it are empty. Environment variables:
//
//     STAND_IN_GPUS     number of GPUs (default 1)
//     STAND_IN_MIB      memory per GPU in MiB (default 8192)
//     STAND_IN_MAJOR    major number of the compute capability (default 9)
//     STAND_IN_ERROR    what cuInit returns (default 0, success)
//     STAND_IN_OLD      1 for a driver too old for CUDA 13
//     STAND_IN_LARGEST  the most bytes that a result may have (default no limit); copying a larger one fails
//     STAND_IN_FAILURE  the error of a result that is too large (default 9, invalid configuration)
//     STAND_IN_RESULTS  a file to write at the end: one line per GPU with the number of results copied from it

#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Values from CUDA's driver_types.h and cuda.h.
enum { MEMORY_ALLOCATION = 2, INVALID_CONFIGURATION = 9, INSUFFICIENT_DRIVER = 35, INVALID_DEVICE = 101, UNSUPPORTED_DRIVER = 803 };
enum { TYPE_UNREGISTERED, TYPE_DEVICE = 2 };
enum { MOST_GPUS = 8, MOST_BLOCKS = 1 << 12 };

// Dimensions of the tiny model.
enum { WIDTH = 64 };

static long setting(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

static int gpus(void) { return (int)setting("STAND_IN_GPUS", 1); }
static size_t memory(void) { return (size_t)setting("STAND_IN_MIB", 8192) << 20; }

// Returns the attributes of a Hopper GPU, for which ONNX Runtime has the most kernels.
static int attribute(int which) {
  switch (which) {
    case 1: return 1024;         // threads per block
    case 8: return 48 << 10;     // shared memory per block
    case 10: return 32;          // threads per warp
    case 16: return 132;         // multiprocessors
    case 39: return 2048;        // threads per multiprocessor
    case 75: return (int)setting("STAND_IN_MAJOR", 9);  // major version
    case 76: return 0;           // minor version
    case 81: return 228 << 10;   // shared memory per multiprocessor
    case 97: return 227 << 10;   // shared memory per block, opt-in
    default: return 1;
  }
}

// --- Memory.

static struct {
  char* start;
  size_t length;
  int gpu;
} blocks[MOST_BLOCKS];
static size_t used[MOST_GPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int current;
static __thread int last_error;

static int fail(int error) { return last_error = error; }

int cudaMalloc(void** pointer, size_t length) {
  int error = MEMORY_ALLOCATION;
  pthread_mutex_lock(&lock);
  if (used[current] + length <= memory()) {
    for (int at = 0; at < MOST_BLOCKS && error; at++) {
      if (blocks[at].start) continue;
      // Pages take up no memory until they are written to.
      *pointer = mmap(0, length + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      blocks[at].start = *pointer, blocks[at].length = length, blocks[at].gpu = current;
      used[current] += length;
      error = 0;
    }
  }
  pthread_mutex_unlock(&lock);
  return error ? fail(error) : 0;
}

int cudaFree(void* pointer) {
  pthread_mutex_lock(&lock);
  for (int at = 0; pointer && at < MOST_BLOCKS; at++) {
    if (blocks[at].start != pointer) continue;
    used[blocks[at].gpu] -= blocks[at].length;
    munmap(pointer, blocks[at].length + 1);
    blocks[at].start = 0;
    break;
  }
  pthread_mutex_unlock(&lock);
  return 0;
}

// Returns the GPU that owns the memory, -1 for main memory.
static int gpu_of(const void* pointer) {
  int gpu = -1;
  pthread_mutex_lock(&lock);
  for (int at = 0; at < MOST_BLOCKS && gpu < 0; at++) {
    char* start = blocks[at].start;
    if (start && (char*)pointer >= start && (char*)pointer < start + blocks[at].length) gpu = blocks[at].gpu;
  }
  pthread_mutex_unlock(&lock);
  return gpu;
}

static long results[MOST_GPUS];

// Writes at exit how many results were copied from each GPU.
__attribute__((destructor)) static void count_results(void) {
  const char* path = getenv("STAND_IN_RESULTS");
  FILE* file = path ? fopen(path, "w") : 0;
  for (int gpu = 0; file && gpu < gpus(); gpu++) fprintf(file, "%ld\n", results[gpu]);
  if (file) fclose(file);
}

int cudaMemcpy(void* to, const void* from, size_t bytes, int kind) {
  int gpu = gpu_of(from);
  if (gpu < 0 || gpu_of(to) >= 0 || bytes % (WIDTH * sizeof(float))) {
    memmove(to, from, bytes);
    return 0;
  }
  if (bytes > (size_t)setting("STAND_IN_LARGEST", LONG_MAX)) {
    return fail((int)setting("STAND_IN_FAILURE", INVALID_CONFIGURATION));
  }
  __sync_fetch_and_add(&results[gpu], 1);
  for (size_t at = 0; at < bytes / sizeof(float); at++) {
    uint32_t dice = (uint32_t)(at % WIDTH + 1) * 2654435761u;
    ((float*)to)[at] = (float)(dice >> 8) / (1 << 24) - 0.5f;
  }
  return 0;
}

int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream) {
  return cudaMemcpy(to, from, bytes, kind);
}

int cudaMemcpy2DAsync(void* to, size_t pitch, const void* from, size_t from_pitch, size_t width, size_t height, int kind,
                      void* stream) {
  for (size_t row = 0; row < height; row++) memmove((char*)to + row * pitch, (char*)from + row * from_pitch, width);
  return 0;
}

int cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes, size_t offset, int kind) {
  memset(to, 0, bytes);
  return 0;
}

int cudaMemset(void* pointer, int value, size_t bytes) {
  memset(pointer, value, bytes);
  return 0;
}

int cudaMemsetAsync(void* pointer, int value, size_t bytes, void* stream) { return cudaMemset(pointer, value, bytes); }
int cudaFreeAsync(void* pointer, void* stream) { return cudaFree(pointer); }
int cudaMallocFromPoolAsync(void** pointer, size_t bytes, void* pool, void* stream) { return cudaMalloc(pointer, bytes); }
int cudaHostAlloc(void** pointer, size_t bytes, unsigned flags) { return posix_memalign(pointer, 4096, bytes + 1); }
int cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, 0); }

int cudaFreeHost(void* pointer) {
  free(pointer);
  return 0;
}

int cudaMemGetInfo(size_t* available, size_t* total) {
  *total = memory(), *available = *total - used[current];
  return 0;
}

int cudaPointerGetAttributes(void* attributes, const void* pointer) {
  struct {
    int type, gpu;
    const void *device, *host;
  }* found = attributes;
  int gpu = gpu_of(pointer);
  found->type = gpu < 0 ? TYPE_UNREGISTERED : TYPE_DEVICE, found->gpu = gpu < 0 ? 0 : gpu;
  found->device = found->host = pointer;
  return 0;
}

// --- GPUs.

static int is_old(void) { return setting("STAND_IN_OLD", 0) != 0; }
int cudaGetDeviceCount(int* count) { return *count = gpus(), is_old() ? fail(INSUFFICIENT_DRIVER) : 0; }
int cudaGetDevice(int* gpu) { return *gpu = current, 0; }

int cudaSetDevice(int gpu) {
  if (is_old()) return fail(INSUFFICIENT_DRIVER);
  return gpu < gpus() ? (current = gpu, 0) : fail(INVALID_DEVICE);
}

int cudaDeviceGetAttribute(int* value, int which, int gpu) { return *value = attribute(which), 0; }
int cudaDriverGetVersion(int* version) { return *version = 13000, 0; }
int cudaRuntimeGetVersion(int* version) { return *version = 13000, 0; }

int cudaGetDeviceProperties(char* properties, int gpu) {
  // Offsets of cudaDeviceProp in CUDA 13.
  memset(properties, 0, 1008);
  strcpy(properties, "Stand-in");
  *(size_t*)(properties + 288) = memory();
  *(size_t*)(properties + 296) = attribute(8);
  *(int*)(properties + 304) = 65536;  // registers per block
  *(int*)(properties + 308) = attribute(10);
  *(int*)(properties + 320) = attribute(1);
  int most[] = {1024, 1024, 64, INT32_MAX, 65535, 65535};  // maximum dimensions of a block and of a grid
  memcpy(properties + 324, most, sizeof most);
  *(int*)(properties + 360) = attribute(75);
  *(int*)(properties + 364) = attribute(76);
  *(int*)(properties + 384) = attribute(16);
  *(int*)(properties + 604) = attribute(39);
  *(size_t*)(properties + 624) = attribute(81);
  *(size_t*)(properties + 672) = attribute(97);
  return 0;
}

// --- The driver's functions that list GPUs.

int cuInit(unsigned flags) { return (int)setting("STAND_IN_ERROR", 0); }
int cuDeviceGetCount(int* count) { return *count = gpus(), 0; }
int cuDeviceGet(int* gpu, int number) { return *gpu = number, 0; }
int cuDeviceGetName(char* name, int length, int gpu) { return snprintf(name, length, "Stand-in %d", gpu), 0; }
int cuDeviceGetAttribute(int* value, int which, int gpu) { return *value = attribute(which), 0; }
int cuDevicePrimaryCtxRetain(void** context, int gpu) { return *context = (void*)(intptr_t)(gpu + 1), 0; }
int cuCtxSetCurrent(void* context) { return current = context ? (int)(intptr_t)context - 1 : 0, 0; }
int cuCtxGetCurrent(void** context) { return *context = (void*)(intptr_t)(current + 1), 0; }

int cuGetErrorString(int error, const char** words) {
  *words = error == UNSUPPORTED_DRIVER ? "system has unsupported display driver / cuda driver combination" : "unknown error";
  return 0;
}

// --- Errors.

const char* cudaGetErrorName(int error) { return error == MEMORY_ALLOCATION ? "cudaErrorMemoryAllocation" : "cudaError"; }

const char* cudaGetErrorString(int error) {
  if (error == INSUFFICIENT_DRIVER) return "CUDA driver version is insufficient for CUDA runtime version";
  if (error == INVALID_CONFIGURATION) return "invalid configuration argument";
  return error == MEMORY_ALLOCATION ? "out of memory" : "unknown error";
}

int cudaPeekAtLastError(void) { return last_error; }

int cudaGetLastError(void) {
  int error = last_error;
  last_error = 0;
  return error;
}

const char* cublasGetStatusName(int status) { return "CUBLAS_STATUS"; }
const char* cublasGetStatusString(int status) { return "a status of the stand-in"; }

// --- Kernels: a launch pushes and pops its configuration and does nothing else.

struct dim3 {
  unsigned x, y, z;
};

static __thread struct {
  struct dim3 grid, block;
  size_t shared;
  void* stream;
} launch;

unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared, void* stream) {
  launch.grid = grid, launch.block = block, launch.shared = shared, launch.stream = stream;
  return 0;
}

int __cudaPopCallConfiguration(struct dim3* grid, struct dim3* block, size_t* shared, void** stream) {
  *grid = launch.grid, *block = launch.block, *shared = launch.shared, *stream = launch.stream;
  return 0;
}

int cudaFuncGetAttributes(char* attributes, const void* function) {
  // Offsets of cudaFuncAttributes.
  memset(attributes, 0, 144);
  *(int*)(attributes + 24) = attribute(1);
  *(int*)(attributes + 28) = 32;  // registers
  *(int*)(attributes + 32) = 90;  // version
  return 0;
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count) { return *count = 2, 0; }
int cudaStreamIsCapturing(void* stream, int* status) { return *status = 0, 0; }

int cudaMemPoolGetAttribute(void* pool, int which, uint64_t* value) { return *value = 0, 0; }

int cudaEventElapsedTime(float* milliseconds) { return *milliseconds = 1, 0; }

int cudaLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
  function(data);
  return 0;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* operation, void* a, void* b, void* c, void* d, void* preference,
                                   int wanted, void* results, int* found) {
  memset(results, 0, 64);
  return *found = 1, 0;
}

int cublasGetMathMode(void* handle, int* mode) { return *mode = 0, 0; }

// --- Other functions: those that create something return a handle, the others do nothing.

#define MAKES(name) \
  int name(void** made) { return *made = &launch, 0; }
#define DOES(name) \
  int name(void) { return 0; }

MAKES(__cudaGetKernel) MAKES(__cudaRegisterFatBinary) MAKES(cublasCreate_v2) MAKES(cublasLtCreate)
MAKES(cublasLtMatmulDescCreate) MAKES(cublasLtMatmulPreferenceCreate) MAKES(cublasLtMatrixLayoutCreate)
MAKES(cublasLtMatrixTransformDescCreate) MAKES(cudaEventCreate) MAKES(cudaEventCreateWithFlags)
MAKES(cudaGraphInstantiate) MAKES(cudaLibraryGetKernel) MAKES(cudaLibraryLoadData) MAKES(cudaMemPoolCreate)
MAKES(cudaStreamCreate) MAKES(cudaStreamCreateWithFlags)

DOES(__cudaLaunchKernel) DOES(__cudaRegisterFatBinaryEnd) DOES(__cudaRegisterFunction) DOES(__cudaRegisterVar)
DOES(__cudaUnregisterFatBinary) DOES(cuDevicePrimaryCtxRelease_v2) DOES(cuTensorMapEncodeTiled) DOES(cublasDestroy_v2)
DOES(cublasDgeam) DOES(cublasDgemmBatched) DOES(cublasDgemmStridedBatched) DOES(cublasDgemm_v2)
DOES(cublasDgetrfBatched) DOES(cublasDgetriBatched) DOES(cublasGemmBatchedEx) DOES(cublasGemmEx)
DOES(cublasGemmStridedBatchedEx) DOES(cublasLtDestroy) DOES(cublasLtMatmul) DOES(cublasLtMatmulAlgoConfigSetAttribute)
DOES(cublasLtMatmulAlgoInit) DOES(cublasLtMatmulDescDestroy) DOES(cublasLtMatmulDescSetAttribute)
DOES(cublasLtMatmulPreferenceDestroy) DOES(cublasLtMatmulPreferenceSetAttribute) DOES(cublasLtMatrixLayoutDestroy)
DOES(cublasLtMatrixLayoutSetAttribute) DOES(cublasLtMatrixTransform) DOES(cublasLtMatrixTransformDescDestroy)
DOES(cublasScopy_v2) DOES(cublasSetMathMode) DOES(cublasSetStream_v2) DOES(cublasSgeam) DOES(cublasSgemmBatched)
DOES(cublasSgemmStridedBatched) DOES(cublasSgemm_v2) DOES(cublasSgetrfBatched) DOES(cublasSgetriBatched)
DOES(cublasSscal_v2) DOES(cudaDeviceSynchronize) DOES(cudaEventDestroy) DOES(cudaEventRecord)
DOES(cudaEventRecordWithFlags) DOES(cudaEventSynchronize) DOES(cudaFuncSetAttribute)
DOES(cudaGetDriverEntryPointByVersion) DOES(cudaGraphDestroy) DOES(cudaGraphExecDestroy) DOES(cudaGraphLaunch)
DOES(cudaKernelSetAttributeForDevice) DOES(cudaLaunchCooperativeKernel) DOES(cudaLaunchKernel)
DOES(cudaLaunchKernelExC) DOES(cudaLibraryUnload) DOES(cudaMemPoolDestroy) DOES(cudaMemPoolSetAttribute)
DOES(cudaMemPoolTrimTo) DOES(cudaStreamBeginCapture) DOES(cudaStreamDestroy) DOES(cudaStreamEndCapture)
DOES(cudaStreamSynchronize) DOES(cudaStreamWaitEvent)
