/* Stands in for CUDA in a C++ compiler: a kernel is a function, and its threads run one after the other. */
#include <math.h>
#include <string.h>

#define __global__
#define __device__
#define __grid_constant__
#define __forceinline__ inline

struct Index {
    unsigned int x, y, z;
};
static thread_local Index gridDim, blockDim, blockIdx, threadIdx;

static inline unsigned int __float_as_uint(float value)
{
    unsigned int bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned int bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Rounded to nearest, never fused: the build passes -ffp-contract=off. */
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}

static inline float __fadd_rn(float a, float b)
{
    return a + b;
}

static inline float __fsub_rn(float a, float b)
{
    return a - b;
}

static inline int atomicAdd(int *number, int more)
{
    const int before = *number;
    *number += more;
    return before;
}

static inline int atomicMax(int *number, int other)
{
    const int before = *number;
    *number = before > other ? before : other;
    return before;
}
