/* A libcuda.so.1 without a card, for the real PyCUDA: enough of the driver to allocate, copy, launch and capture.
 *
 * The GPU's memory is the process's own. What is enqueued runs at once, but for what is captured into a graph. Each
 * thread has a stack of contexts, as in the driver, and a call without one is an error. `host_left` counts what was not
 * freed, `host_fail` makes a call fail: once, or for memory until it is called again. Kernels come from a library of the
 * emulator.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int R;
enum { OK = 0, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_VALUE = 1, NOT_SUPPORTED = 801, NOT_FOUND = 500,
       LAUNCH_FAILED = 719 };
enum { MEMORY, PINNED, STREAM, EVENT, MODULE, CONTEXT, GRAPH, KINDS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long left[KINDS];
static R broken;
static char failing[64];
static int failing_after, failing_with;
static void *kernels;
static __thread void *stack[16];
static __thread int depth;

typedef void (*Host)(void *);
typedef struct Op {
    struct Op *next;
    void *to, *from;
    size_t bytes;
    Host host;
    void *argument;
} Op;
typedef struct { Op *first, *last; int capturing; } Stream;
typedef struct { double at; int recorded; } Event;
static double ticks;

static void count(int kind, int by) { pthread_mutex_lock(&lock); left[kind] += by; pthread_mutex_unlock(&lock); }

static R enter(const char *name, int needs_context) {
    if (broken) return broken;
    if (failing[0] && !strcmp(name, failing) && failing_after-- <= 0) {
        if (failing_with != OUT_OF_MEMORY) failing[0] = 0; /* memory: PyCUDA collects garbage and tries again */
        if (failing_with == LAUNCH_FAILED) broken = LAUNCH_FAILED;
        return failing_with;
    }
    return needs_context && !depth ? INVALID_CONTEXT : OK;
}
#define ENTER(needs) do { R r_ = enter(__func__, needs); if (r_) return r_; } while (0)

/* For tests. */
long host_left(int kind) { return left[kind]; }
int host_depth(void) { return depth; }
void host_fail(const char *name, int after, int with) {
    strncpy(failing, name, sizeof failing - 1), failing_after = after, failing_with = with;
}
int host_kernels(const char *path) { return (kernels = dlopen(path, RTLD_NOW)) ? OK : NOT_FOUND; }

static void run(Op *op) { op->host ? op->host(op->argument) : (void)memmove(op->to, op->from, op->bytes); }

static R enqueue(Stream *stream, Op op) {
    if (!stream || !stream->capturing) return run(&op), OK;
    Op *kept = malloc(sizeof op);
    *kept = op, kept->next = NULL;
    if (stream->last) stream->last->next = kept; else stream->first = kept;
    stream->last = kept;
    return OK;
}
R host_enqueue(Stream *stream, Host host, void *argument) {
    return enqueue(stream, (Op){.host = host, .argument = argument});
}

R cuInit(unsigned flags) { (void)flags; ENTER(0); return OK; }
R cuDriverGetVersion(int *version) { *version = 13000; return OK; }
R cuGetErrorString(R error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == LAUNCH_FAILED ? "unspecified launch failure"
          : error == INVALID_CONTEXT ? "invalid device context" : "an error of the host driver";
    return OK;
}
R cuDeviceGet(int *device, int number) { if (number) return 101; *device = number; return OK; }
R cuDeviceGetCount(int *number) { *number = 1; return OK; }
R cuDeviceGetName(char *name, int most, int device) { (void)device; snprintf(name, most, "Fake 3080"); return OK; }
R cuDeviceComputeCapability(int *major, int *minor, int device) { (void)device; *major = 8, *minor = 6; return OK; }
R cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    *value = which == 75 ? 8 : which == 76 ? 6 : 0;
    return OK;
}
R cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = (size_t)8 << 30; return OK; }
R cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    ENTER(0);
    count(CONTEXT, 1);
    *context = &left;
    return OK;
}
R cuDevicePrimaryCtxRelease_v2(int device) { (void)device; count(CONTEXT, -1); broken = OK; return OK; }
R cuCtxPushCurrent_v2(void *context) { stack[depth++] = context; return OK; }
R cuCtxPopCurrent_v2(void **context) {
    R failed = enter(__func__, 1);
    if (!depth) return INVALID_CONTEXT;
    if (failed && failed != broken) return failed;
    *context = stack[--depth];
    return OK;
}
R cuCtxGetDevice(int *device) { ENTER(1); *device = 0; return OK; }
R cuCtxSynchronize(void) { ENTER(1); return OK; }

R cuMemAlloc_v2(void **memory, size_t bytes) {
    ENTER(1);
    *memory = memset(aligned_alloc(256, (bytes + 255) / 256 * 256), 0xa5, bytes);
    count(MEMORY, 1);
    return OK;
}
R cuMemFree_v2(void *memory) { if (!depth) return INVALID_CONTEXT; free(memory); count(MEMORY, -1); return OK; }
R cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    (void)flags;
    ENTER(1);
    *memory = memset(malloc(bytes), 0xa5, bytes);
    count(PINNED, 1);
    return OK;
}
R cuMemFreeHost(void *memory) { if (!depth) return INVALID_CONTEXT; free(memory); count(PINNED, -1); return OK; }
R cuMemGetInfo_v2(size_t *unused, size_t *total) {
    ENTER(1);
    *unused = (size_t)1 << 20, *total = (size_t)8 << 30;
    return OK;
}
R cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, Stream *stream) {
    ENTER(1);
    return enqueue(stream, (Op){.to = to, .from = (void *)from, .bytes = bytes});
}
R cuMemcpyDtoHAsync_v2(void *to, void *from, size_t bytes, Stream *stream) {
    ENTER(1);
    return enqueue(stream, (Op){.to = to, .from = from, .bytes = bytes});
}
R cuMemcpyHtoD_v2(void *to, const void *from, size_t bytes) { ENTER(1); memmove(to, from, bytes); return OK; }
R cuMemcpyDtoH_v2(void *to, void *from, size_t bytes) { ENTER(1); memmove(to, from, bytes); return OK; }
R cuMemsetD32Async(unsigned *to, unsigned value, size_t number, Stream *stream) {
    ENTER(1);
    if (stream && stream->capturing) return NOT_SUPPORTED;
    while (number--) *to++ = value;
    return OK;
}

R cuStreamCreate(Stream **stream, unsigned flags) {
    ENTER(1);
    if (flags > 1) return INVALID_VALUE;
    *stream = calloc(1, sizeof **stream);
    count(STREAM, 1);
    return OK;
}
R cuStreamDestroy_v2(Stream *stream) { if (!depth) return INVALID_CONTEXT; free(stream); count(STREAM, -1); return OK; }
R cuStreamSynchronize(Stream *stream) { ENTER(1); return stream->capturing ? 900 : OK; }
R cuStreamQuery(Stream *stream) { (void)stream; ENTER(1); return OK; }
R cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    ENTER(1);
    return OK;
}
R cuEventCreate(Event **event, unsigned flags) {
    (void)flags;
    ENTER(1);
    *event = calloc(1, sizeof **event);
    count(EVENT, 1);
    return OK;
}
R cuEventDestroy_v2(Event *event) { if (!depth) return INVALID_CONTEXT; free(event); count(EVENT, -1); return OK; }
R cuEventRecord(Event *event, Stream *stream) {
    (void)stream;
    ENTER(1);
    event->at = ticks += 0.25, event->recorded = 1;
    return OK;
}
R cuEventSynchronize(Event *event) { (void)event; ENTER(1); return OK; }
R cuEventQuery(Event *event) { (void)event; ENTER(1); return OK; }
R cuEventElapsedTime(float *ms, Event *from, Event *to) {
    ENTER(1);
    if (!from->recorded || !to->recorded) return INVALID_VALUE;
    *ms = (float)(to->at - from->at);
    return OK;
}

R cuModuleLoadDataEx(void **module, const void *image, unsigned number, int *options, void **values) {
    (void)image, (void)number, (void)options, (void)values;
    ENTER(1);
    *module = calloc(1, 1);
    count(MODULE, 1);
    return OK;
}
R cuModuleUnload(void *module) { if (!depth) return INVALID_CONTEXT; free(module); count(MODULE, -1); return OK; }
R cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module;
    char symbol[128];
    ENTER(1);
    snprintf(symbol, sizeof symbol, "run_%s", name);
    return kernels && (*function = dlsym(kernels, symbol)) ? OK : NOT_FOUND;
}
R cuFuncSetBlockShape(void *function, int x, int y, int z) { (void)function, (void)x, (void)y, (void)z; return OK; }
R cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                 unsigned shared, Stream *stream, void **arguments, void **extra) {
    ENTER(1);
    if (shared || arguments || gz != 1 || bz != 1 || !stream || stream->capturing || extra[0] != (void *)1)
        return INVALID_VALUE;
    unsigned grid[2] = {gx, gy}, block[2] = {bx, by};
    ((void (*)(unsigned *, unsigned *, const void *, int))function)(grid, block, extra[1], 0);
    return OK;
}

R cuStreamBeginCapture_v2(Stream *stream, int mode) {
    ENTER(1);
    if (mode != 1 || stream->capturing) return INVALID_VALUE;
    stream->capturing = 1;
    return OK;
}
R cuStreamEndCapture(Stream *stream, Op **graph) {
    if (!stream->capturing) return INVALID_VALUE;
    *graph = stream->first;
    stream->first = stream->last = NULL, stream->capturing = 0;
    return OK;
}
R cuGraphInstantiateWithFlags(Op **executable, Op *graph, unsigned long long flags) {
    ENTER(1);
    if (flags) return INVALID_VALUE;
    *executable = graph;
    count(GRAPH, 1);
    return OK;
}
R cuGraphDestroy(Op *graph) { (void)graph; return OK; } /* the executable has its own, here the same */
R cuGraphLaunch(Op *executable, Stream *stream) {
    ENTER(1);
    if (!stream) return INVALID_VALUE;
    for (Op *op = executable; op; op = op->next) run(op);
    return OK;
}
R cuGraphExecDestroy(Op *executable) {
    for (Op *next; executable; executable = next) next = executable->next, free(executable);
    count(GRAPH, -1);
    return OK;
}

/* The rest of what PyCUDA links to. */
#define REST(name) R name(void) { return NOT_SUPPORTED; }
REST(cuArray3DCreate_v2) REST(cuArray3DGetDescriptor_v2) REST(cuArrayCreate_v2) REST(cuArrayDestroy)
REST(cuArrayGetDescriptor_v2) REST(cuCtxAttach) REST(cuCtxCreate_v2) REST(cuCtxDetach) REST(cuCtxDisablePeerAccess)
REST(cuCtxEnablePeerAccess) REST(cuCtxGetApiVersion) REST(cuCtxGetCacheConfig) REST(cuCtxGetLimit)
REST(cuCtxGetSharedMemConfig) REST(cuCtxSetCacheConfig) REST(cuCtxSetLimit) REST(cuCtxSetSharedMemConfig)
REST(cuDeviceCanAccessPeer) REST(cuDeviceGetByPCIBusId) REST(cuDeviceGetPCIBusId) REST(cuFuncGetAttribute)
REST(cuFuncSetAttribute) REST(cuFuncSetCacheConfig) REST(cuFuncSetSharedSize) REST(cuIpcCloseMemHandle)
REST(cuIpcGetEventHandle) REST(cuIpcGetMemHandle) REST(cuIpcOpenEventHandle) REST(cuIpcOpenMemHandle_v2)
REST(cuLaunch) REST(cuLaunchGrid) REST(cuLaunchGridAsync) REST(cuLinkAddData_v2) REST(cuLinkAddFile_v2)
REST(cuLinkComplete) REST(cuLinkCreate_v2) REST(cuLinkDestroy) REST(cuMemAllocManaged) REST(cuMemAllocPitch_v2)
REST(cuMemGetAddressRange_v2) REST(cuMemHostGetDevicePointer_v2) REST(cuMemHostGetFlags) REST(cuMemHostRegister_v2)
REST(cuMemHostUnregister) REST(cuMemcpy2DAsync_v2) REST(cuMemcpy2DUnaligned_v2) REST(cuMemcpy2D_v2)
REST(cuMemcpy3DAsync_v2) REST(cuMemcpy3DPeer) REST(cuMemcpy3DPeerAsync) REST(cuMemcpy3D_v2) REST(cuMemcpyAtoA_v2)
REST(cuMemcpyAtoD_v2) REST(cuMemcpyAtoH_v2) REST(cuMemcpyDtoA_v2) REST(cuMemcpyDtoDAsync_v2) REST(cuMemcpyDtoD_v2)
REST(cuMemcpyHtoA_v2) REST(cuMemcpyPeer) REST(cuMemcpyPeerAsync) REST(cuMemsetD16Async) REST(cuMemsetD16_v2)
REST(cuMemsetD2D16Async) REST(cuMemsetD2D16_v2) REST(cuMemsetD2D32Async) REST(cuMemsetD2D32_v2)
REST(cuMemsetD2D8Async) REST(cuMemsetD2D8_v2) REST(cuMemsetD32_v2) REST(cuMemsetD8Async) REST(cuMemsetD8_v2)
REST(cuModuleGetGlobal_v2) REST(cuModuleGetSurfRef) REST(cuModuleGetTexRef) REST(cuModuleLoad) REST(cuModuleLoadData)
REST(cuParamSetSize) REST(cuParamSetTexRef) REST(cuParamSetf) REST(cuParamSeti) REST(cuParamSetv)
REST(cuProfilerInitialize) REST(cuProfilerStart) REST(cuProfilerStop) REST(cuStreamAttachMemAsync)
REST(cuSurfRefGetArray) REST(cuSurfRefSetArray) REST(cuTexRefCreate) REST(cuTexRefDestroy)
REST(cuTexRefGetAddressMode) REST(cuTexRefGetAddress_v2) REST(cuTexRefGetArray) REST(cuTexRefGetFilterMode)
REST(cuTexRefGetFlags) REST(cuTexRefGetFormat) REST(cuTexRefSetAddress2D_v3) REST(cuTexRefSetAddressMode)
REST(cuTexRefSetAddress_v2) REST(cuTexRefSetArray) REST(cuTexRefSetFilterMode) REST(cuTexRefSetFlags)
REST(cuTexRefSetFormat)
