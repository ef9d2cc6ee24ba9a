/* The steps that convnet.pyx runs: what a step is, and the choice of the instruction set.
 *
 * A tensor lies in blocks of 16 channels: block after block, in each one pixel after the other, row by row, 16 floats a
 * pixel. So channel c of pixel (y, x) is at `at + c / 16 * block + (y * width + x) * 16 + c % 16`. Lanes above the last
 * channel hold anything; no kernel lets them reach a channel.
 *
 * The kernels are written once, in convnet_kernels.h, and compiled twice: for AVX-512 (a pixel of a block is one
 * register) and for AVX2 with FMA (two). The caller names the set. Elsewhere there are none, and convnet_has says so.
 */
#ifndef ENGINE_EXT_CONVNET_H
#define ENGINE_EXT_CONVNET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Floats, where not said otherwise. Python fills these in by name: convnet.pyx lists them in the same order. */
typedef struct {
    int64_t kind;
    /* Read: tensor of the workspace, or the picture (planar, channels * height * width). */
    int64_t planar, in_at, in_channels, in_height, in_width, in_block;
    /* Written: tensor of the workspace, or columns of the output's rows (row_length > 0). */
    int64_t out_at, out_channels, out_height, out_width, out_block, row_length;
    int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
    /* In the weights. affine_at: a factor, then a summand, for each channel of the picture. */
    int64_t weights_at, bias_at, affine_at, group;
    /* activation_at: two numbers in the weights. */
    int64_t activation, activation_at;
    /* A second tensor of the output's size, added (or multiplied) before or after the activation. */
    int64_t other_at, other_block, other_when;
    /* Padded rows of the input; < 0 where it is read in place. segments_at: the table of conv. */
    int64_t scratch_at, segments_at;
    /* Pixels, or tiles of 2x2 in WINOGRAD and WINOGRAD_BF16, that all groups are computed of before the next ones. */
    int64_t chunk;
    /* First channel: of the source in STORE_ROWS, of the destination in COPY. */
    int64_t channel;
    /* ATTENTION: queries are read at in_at, keys at other_at, values at third_at. The first of the two numbers at
     * activation_at is the factor of the scores. */
    int64_t third_at, third_block, heads;
} ConvnetStep;

enum { CONVNET_FIELDS = sizeof(ConvnetStep) / sizeof(int64_t) };

enum {
    CONVNET_CONV,
    CONVNET_DEPTHWISE,
    CONVNET_MAX_POOL,
    CONVNET_UPSAMPLE,
    CONVNET_ELEMENTWISE,
    CONVNET_COPY,
    CONVNET_STORE_ROWS,
    CONVNET_ATTENTION,
    CONVNET_CONV_BF16,
    CONVNET_WINOGRAD,
    CONVNET_WINOGRAD_BF16,
    CONVNET_PICTURE_BF16,
    CONVNET_KINDS
};

enum {
    CONVNET_NOTHING,
    CONVNET_SILU,
    CONVNET_SIGMOID,
    CONVNET_RELU,
    CONVNET_LEAKY_RELU,   /* slope */
    CONVNET_CLIP,         /* low, high */
    CONVNET_HARD_SIGMOID, /* slope, summand */
    CONVNET_HARD_SWISH,   /* slope, summand */
    CONVNET_ACTIVATIONS
};

enum { CONVNET_NO_OTHER, CONVNET_ADD_BEFORE, CONVNET_ADD_AFTER, CONVNET_MULTIPLY_AFTER, CONVNET_WHENS };

/* Each has what those before it have. The last two take what is in BF16. */
enum { CONVNET_AVX2 = 1, CONVNET_AVX512, CONVNET_AVX512_BF16, CONVNET_AMX };

/* Consecutive floats of the input that meet consecutive rows of the weights. */
typedef struct {
    int64_t at, length;
} ConvnetSegment;

typedef struct {
    const float *picture;
    const float *weights;
    float *workspace;
    float *output;
} ConvnetBuffers;

/* The largest tile of output that one pass keeps in registers. */
#define CONVNET_MAX_TILE_PIXELS 12
#define CONVNET_MAX_TILE_BLOCKS 4

/* The pixels of a tile of at most `most` that leaves the rest to tiles of about its size. */
static inline int64_t convnet_even_tile(int64_t pixels, int64_t most)
{
    const int64_t tiles = (pixels + most - 1) / most;
    return (pixels + tiles - 1) / tiles;
}

/* Queries whose scores are kept at a time, and the most channels of a head's queries and keys, or read by a WINOGRAD. */
#define CONVNET_ATTENTION_ROWS 24
#define CONVNET_MAX_DEPTH 1024

/* In bfloat16: rows of a kernel; of PICTURE_BF16's, pairs of columns in all its rows and planes; pixels that a
 * convolution of one pixel rounds at a time, which stay in the first-level cache with their sums; and pixels that are
 * read behind the last one of a row, and not used. */
#define CONVNET_BF16_ROWS 16
#define CONVNET_BF16_PAIRS 128
#define CONVNET_BF16_CHUNK 256
#define CONVNET_BF16_SLACK 32

/* 2**(i / 32) without i * 2**18 in its bits: adding k << 18, with i = k % 32, gives 2**(k / 32). Every fourth is
 * 2**(i / 8), once 2**20 stands for 2**18. */
static const int32_t convnet_exp2_32[32] __attribute__((aligned(64))) = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
    0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6,
    0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
    0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3};
static const int32_t convnet_exp2_8[8] __attribute__((aligned(32))) = {
    0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define CONVNET_X86 1
#include <immintrin.h>

#define CONVNET_INLINE static inline __attribute__((always_inline))

#define CONVNET_512
#define NAME(name) name##_avx512
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")))
#include "convnet_kernels.h"
#undef CONVNET_512
#undef NAME
#undef TARGET

#define NAME(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#include "convnet_kernels.h"
#undef NAME
#undef TARGET

/* Older compilers do not know their instructions. */
#if defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10
#define CONVNET_HAS_BF16 1
#include "convnet_bf16.h"
#endif
#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 14 : __GNUC__ >= 11)
#define CONVNET_HAS_AMX 1
#include "convnet_amx.h"
#endif
#endif

static inline int convnet_has(int set)
{
#ifdef CONVNET_X86
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (set == CONVNET_AVX2)
        return avx2;
    const int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (set == CONVNET_AVX512)
        return avx512;
#ifdef CONVNET_HAS_BF16
    if (set == CONVNET_AVX512_BF16)
        return avx512 && convnet_has_dot();
#endif
#ifdef CONVNET_HAS_AMX
    if (set == CONVNET_AMX)
        return avx512 && convnet_has_amx();
#endif
#else
    (void)set;
#endif
    return 0;
}

/* See `mean_of_bins` of convnet_kernels.h: of rows x columns distributions, so many floats apart. */
static inline void convnet_means_of_bins(int set, const float *from, ptrdiff_t row, ptrdiff_t column,
                                         const float *weights, ptrdiff_t count, ptrdiff_t rows, ptrdiff_t columns,
                                         float *out)
{
#ifdef CONVNET_X86
    for (ptrdiff_t c = 0; c < columns; c++)
        for (ptrdiff_t r = 0; r < rows; r++)
            out[r * columns + c] = set == CONVNET_AVX2
                                       ? mean_of_bins_avx2(from + r * row + c * column, weights, count)
                                       : mean_of_bins_avx512(from + r * row + c * column, weights, count);
#else
    (void)set, (void)from, (void)row, (void)column, (void)weights, (void)count, (void)rows, (void)columns, (void)out;
#endif
}

static inline void convnet_run(int set, const ConvnetStep *steps, ptrdiff_t count, const ConvnetBuffers *buffers)
{
#ifdef CONVNET_X86
    for (ptrdiff_t i = 0; i < count; i++) {
#ifdef CONVNET_HAS_AMX
        if (steps[i].kind == CONVNET_CONV_BF16 && set == CONVNET_AMX) {
            convnet_conv_amx(steps + i, buffers);
            continue;
        }
#endif
#ifdef CONVNET_HAS_BF16
        if (steps[i].kind == CONVNET_CONV_BF16) {
            convnet_conv_bf16(steps + i, buffers, convnet_dot_row);
            continue;
        }
        if (steps[i].kind == CONVNET_WINOGRAD_BF16) {
            convnet_winograd_bf16(steps + i, buffers);
            continue;
        }
        if (steps[i].kind == CONVNET_PICTURE_BF16) {
            convnet_picture_bf16(steps + i, buffers);
            continue;
        }
#endif
        if (set == CONVNET_AVX2)
            convnet_step_avx2(steps + i, buffers);
        else
            convnet_step_avx512(steps + i, buffers);
    }
#else
    (void)set, (void)steps, (void)count, (void)buffers;
#endif
}

#endif
