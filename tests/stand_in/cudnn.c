// A stand-in for cuDNN 9, as far as ONNX Runtime asks for it where it takes attention of its own.

#include <stddef.h>

static int handle;

int cudnnCreate(void** made) { return *made = &handle, 0; }
int cudnnDestroy(void* made) { return 0; }
int cudnnSetStream(void* made, void* stream) { return 0; }
const char* cudnnGetErrorString(int status) { return "a status of the stand-in"; }
size_t cudnnGetVersion(void) { return 92800; }
