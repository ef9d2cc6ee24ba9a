/* The inner loops of letterbox.pyx: one source row resampled horizontally, one output row blended, coloured and stored.
 *
 * A sample is kept as int16 with 7 fractional bits (0..255 becomes 0..32640). A weight is int16 with 15 fractional bits
 * and negative, -32768..0, since -1 fits and +1 would not: both ends of a blend are then exact.
 *
 * x86-64 builds by GCC hold each loop three times and the loader picks one. All give the same bits: the blends are
 * integer, and the float part has one rounding per operation in one order (the build passes -ffp-contract=off).
 */
#ifndef ENGINE_EXT_LETTERBOX_ROWS_H
#define ENGINE_EXT_LETTERBOX_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Choosing at load time needs ifunc, which musl, macOS and Windows lack. Other compilers get the plain loop. */
#ifndef LETTERBOX_CLONES
#if defined(__x86_64__) && __GNUC__ >= 12 && !defined(__clang__) && defined(__GLIBC__)
#define LETTERBOX_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LETTERBOX_CLONES
#endif
#endif

#define LETTERBOX_FRACTION 7
#define LETTERBOX_GROUP 16 /* outputs fetched at once */
#define LETTERBOX_WINDOW 128

/* How three samples become three output channels: out[c] = clamp(sum_p weight[c][p] * (sample[p] - zero[p]) + bias[c]).
 * Subtracting zero[p] first, in integers, makes a neutral chroma add exactly nothing. */
typedef struct {
    int32_t zero[3];
    float weight[3][3];
    float bias[3];
    float low[3];
    float high[3];
} LetterboxColour;

/* The two rows that one sampled component is blended from, and the weight of the second. */
typedef struct {
    const int16_t *upper;
    const int16_t *lower;
    int16_t weight;
} LetterboxBlend;

static inline int16_t letterbox_mix(int16_t first, int16_t second, int16_t weight)
{
    int16_t difference = (int16_t)(first - second);
    return (int16_t)(first + ((((int32_t)difference * weight >> 14) + 1) >> 1));
}

/* ---- horizontally: bytes to samples ---- */

/* Each pixel that is needed is fetched with its right neighbour. Loads that follow an index do not vectorise (vector
 * gathers were no faster here and are far slower on many processors), so they are kept apart from the arithmetic: a
 * fetch only copies, a blend takes the copies apart. at[] holds byte offsets of pixels that have a right neighbour. */

#if defined(__clang__)
#define LETTERBOX_UNROLL _Pragma("clang loop unroll_count(8)")
#elif defined(__GNUC__)
#define LETTERBOX_UNROLL _Pragma("GCC unroll 8")
#else
#define LETTERBOX_UNROLL
#endif

/* Little-endian whatever the machine; compilers make one load of it. */
static inline uint32_t letterbox_load_2(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t letterbox_load_4(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* One component: 2 bytes a pixel. */
static inline void letterbox_fetch_1(const uint8_t *restrict row, const int32_t *restrict at, ptrdiff_t n,
                                     uint32_t *restrict fetched)
{
    uint16_t *restrict pairs = (uint16_t *)fetched;
    LETTERBOX_UNROLL
    for (ptrdiff_t i = 0; i < n; i++)
        pairs[i] = (uint16_t)letterbox_load_2(row + at[i]);
}

/* The same where the processor can permute bytes across a register (AVX-512 VBMI): the bytes that a group of outputs
 * needs lie in a window of at most 128, so that two loads and one permutation fetch the whole group. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

static inline int letterbox_has_windows(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}

/* Of each group: the offset of its window, the window's bytes, and which of them its pairs are. Of the first `roomy`
 * groups whole windows can be loaded; behind them a mask leaves out what is not needed, for a row may end where its
 * memory does. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
static void letterbox_fetch_windows(const uint8_t *restrict row, const int32_t *restrict start,
                                    const int32_t *restrict span, const uint8_t *restrict picks, ptrdiff_t roomy,
                                    ptrdiff_t n, uint32_t *restrict fetched)
{
    uint16_t *pairs = (uint16_t *)fetched;
    for (ptrdiff_t group = 0; group * LETTERBOX_GROUP < n; group++, pairs += LETTERBOX_GROUP) {
        const uint8_t *window = row + start[group];
        const __m512i pick = _mm512_castsi256_si512(
            _mm256_loadu_si256((const __m256i *)(picks + group * 2 * LETTERBOX_GROUP)));
        if (group < roomy) {
            const __m512i low = _mm512_loadu_si512(window), high = _mm512_loadu_si512(window + 64);
            const __m512i found = _mm512_permutex2var_epi8(low, pick, high);
            _mm256_storeu_si256((__m256i *)pairs, _mm512_castsi512_si256(found));
        } else {
            const int bytes = span[group];
            const ptrdiff_t left = n - group * LETTERBOX_GROUP;
            const __mmask16 wanted = (__mmask16)(left >= LETTERBOX_GROUP ? 0xffff : (1 << left) - 1);
            const __m512i low = _mm512_maskz_loadu_epi8(bytes >= 64 ? ~0ull : (1ull << bytes) - 1, window);
            const __m512i high = _mm512_maskz_loadu_epi8(
                bytes >= 128 ? ~0ull : bytes > 64 ? (1ull << (bytes - 64)) - 1 : 0, window + 64);
            const __m512i found = _mm512_permutex2var_epi8(low, pick, high);
            _mm256_mask_storeu_epi16(pairs, wanted, _mm512_castsi512_si256(found));
        }
    }
}
#else
static inline int letterbox_has_windows(void)
{
    return 0;
}

static inline void letterbox_fetch_windows(const uint8_t *row, const int32_t *start, const int32_t *span,
                                           const uint8_t *picks, ptrdiff_t roomy, ptrdiff_t n, uint32_t *fetched)
{
    (void)row, (void)start, (void)span, (void)picks, (void)roomy, (void)n, (void)fetched;
}
#endif

/* Two: 4 bytes a pixel. */
static inline void letterbox_fetch_2(const uint8_t *restrict row, const int32_t *restrict at, ptrdiff_t n,
                                     uint32_t *restrict fetched)
{
    LETTERBOX_UNROLL
    for (ptrdiff_t i = 0; i < n; i++)
        fetched[i] = letterbox_load_4(row + at[i]);
}

/* Three: 6 bytes a pixel, the first four, then (after n of those) the last four. */
static inline void letterbox_fetch_3(const uint8_t *restrict row, const int32_t *restrict at, ptrdiff_t n,
                                     uint32_t *restrict fetched)
{
    LETTERBOX_UNROLL
    for (ptrdiff_t i = 0; i < n; i++) {
        fetched[i] = letterbox_load_4(row + at[i]);
        fetched[i + n] = letterbox_load_4(row + at[i] + 2);
    }
}

/* first and second: bytes, however wide. */
#define LETTERBOX_BLEND(first, second, weight)                                                                       \
    letterbox_mix((int16_t)((first) << LETTERBOX_FRACTION), (int16_t)((second) << LETTERBOX_FRACTION), weight)

LETTERBOX_CLONES
static void letterbox_blend_1(const uint32_t *restrict fetched, const int16_t *restrict weights, ptrdiff_t n,
                              int16_t *restrict samples)
{
    const uint16_t *restrict pairs = (const uint16_t *)fetched;
    for (ptrdiff_t i = 0; i < n; i++)
        samples[i] = LETTERBOX_BLEND(pairs[i] & 255, pairs[i] >> 8, weights[i]);
}

/* Components lie two rows apart. */
LETTERBOX_CLONES
static void letterbox_blend_2(const uint32_t *restrict fetched, const int16_t *restrict weights, ptrdiff_t n,
                              int16_t *restrict samples)
{
    int16_t *restrict samples_1 = samples + 2 * n;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint32_t pair = fetched[i];
        samples[i] = LETTERBOX_BLEND(pair & 255, pair >> 16 & 255, weights[i]);
        samples_1[i] = LETTERBOX_BLEND(pair >> 8 & 255, pair >> 24, weights[i]);
    }
}

LETTERBOX_CLONES
static void letterbox_blend_3(const uint32_t *restrict fetched, const int16_t *restrict weights, ptrdiff_t n,
                              int16_t *restrict samples)
{
    const uint32_t *restrict fetched_end = fetched + n;
    int16_t *restrict samples_1 = samples + 2 * n, *restrict samples_2 = samples + 4 * n;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint32_t start = fetched[i], end = fetched_end[i];
        samples[i] = LETTERBOX_BLEND(start & 255, start >> 24, weights[i]);
        samples_1[i] = LETTERBOX_BLEND(start >> 8 & 255, end >> 16 & 255, weights[i]);
        samples_2[i] = LETTERBOX_BLEND(start >> 16 & 255, end >> 24, weights[i]);
    }
}

/* A source one pixel wide has no neighbours. */
static inline void letterbox_repeat(const uint8_t *restrict pixel, ptrdiff_t components, ptrdiff_t n,
                                    int16_t *restrict samples)
{
    for (ptrdiff_t c = 0; c < components; c++)
        for (ptrdiff_t i = 0; i < n; i++)
            samples[2 * c * n + i] = (int16_t)(pixel[c] << LETTERBOX_FRACTION);
}

/* ---- vertically: samples to output values ---- */

static inline float letterbox_as_float32(float value)
{
    return value;
}

static inline uint32_t letterbox_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float letterbox_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Finite values up to 65504 to the bits of a half, to nearest, ties to even. */
static inline uint16_t letterbox_as_float16(float value)
{
    const uint32_t bits = letterbox_bits(value);
    const uint32_t magnitude = bits & 0x7fffffff;
    /* A subnormal half counts units of 2**-24, which is what the last place of 0.5f + x counts. */
    const uint32_t subnormal = letterbox_bits(letterbox_float(magnitude) + 0.5f) - 0x3f000000;
    const uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13;
    /* Chosen by mask: with a branch the loop does not vectorise everywhere. */
    const uint32_t is_subnormal = 0u - (uint32_t)(magnitude < 0x38800000);
    return (uint16_t)((bits >> 16 & 0x8000) | (subnormal & is_subnormal) | (normal & ~is_subnormal));
}

static inline uint8_t letterbox_as_uint8(float value)
{
    return (uint8_t)(int32_t)(value + 0.5f);
}

#define LETTERBOX_CHANNEL(c, as_type)                                                                                \
    {                                                                                                                \
        float value = w##c##0 * a + w##c##1 * b + w##c##2 * d + bias##c;                                             \
        value = value > low##c ? value : low##c;                                                                     \
        value = value < high##c ? value : high##c;                                                                   \
        out##c[i] = as_type(value);                                                                                  \
    }

#define LETTERBOX_CONSTANTS(c)                                                                                       \
    const float w##c##0 = colour->weight[c][0], w##c##1 = colour->weight[c][1], w##c##2 = colour->weight[c][2];      \
    const float bias##c = colour->bias[c], low##c = colour->low[c], high##c = colour->high[c];

/* Writes n pixels of one row, each channel to its own place. */
#define LETTERBOX_STORE_ROW(name, type, as_type)                                                                     \
    LETTERBOX_CLONES                                                                                                 \
    static void name(const LetterboxBlend *blend, const LetterboxColour *colour, ptrdiff_t n, type *restrict out0,   \
                     type *restrict out1, type *restrict out2)                                                       \
    {                                                                                                                \
        const int16_t *restrict a0 = blend[0].upper, *restrict a1 = blend[0].lower;                                  \
        const int16_t *restrict b0 = blend[1].upper, *restrict b1 = blend[1].lower;                                  \
        const int16_t *restrict d0 = blend[2].upper, *restrict d1 = blend[2].lower;                                  \
        const int16_t wa = blend[0].weight, wb = blend[1].weight, wd = blend[2].weight;                              \
        const int32_t za = colour->zero[0], zb = colour->zero[1], zd = colour->zero[2];                              \
        LETTERBOX_CONSTANTS(0)                                                                                       \
        LETTERBOX_CONSTANTS(1)                                                                                       \
        LETTERBOX_CONSTANTS(2)                                                                                       \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                          \
            const float a = (float)(letterbox_mix(a0[i], a1[i], wa) - za);                                           \
            const float b = (float)(letterbox_mix(b0[i], b1[i], wb) - zb);                                           \
            const float d = (float)(letterbox_mix(d0[i], d1[i], wd) - zd);                                           \
            LETTERBOX_CHANNEL(0, as_type)                                                                            \
            LETTERBOX_CHANNEL(1, as_type)                                                                            \
            LETTERBOX_CHANNEL(2, as_type)                                                                            \
        }                                                                                                            \
    }

LETTERBOX_STORE_ROW(letterbox_store_float32, float, letterbox_as_float32)
LETTERBOX_STORE_ROW(letterbox_store_float16, uint16_t, letterbox_as_float16)
LETTERBOX_STORE_ROW(letterbox_store_uint8, uint8_t, letterbox_as_uint8)

/* ---- padding ---- */

static inline void letterbox_fill_float32(float *out, ptrdiff_t n, float value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = value;
}

static inline void letterbox_fill_float16(uint16_t *out, ptrdiff_t n, float value)
{
    const uint16_t bits = letterbox_as_float16(value);
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = bits;
}

static inline void letterbox_fill_uint8(uint8_t *out, ptrdiff_t n, float value)
{
    const uint8_t byte = letterbox_as_uint8(value);
    for (ptrdiff_t i = 0; i < n; i++)
        out[i] = byte;
}

#endif
