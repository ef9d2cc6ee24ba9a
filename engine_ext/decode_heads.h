/* Innermost loops of decode_heads.pyx: reading half floats, and the largest of a row or of many rows' class scores. */
#ifndef ENGINE_EXT_DECODE_HEADS_H
#define ENGINE_EXT_DECODE_HEADS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Two builds of a loop, chosen when the module is loaded. Comparing and widening are exact: both give the same bits. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define HEADS_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define HEADS_WIDE
#endif

/* Whether none of count numbers is NaN or infinite: those have all bits of the exponent set. */
HEADS_WIDE
static int heads_all_finite_f32(const float *numbers, ptrdiff_t count)
{
    const uint32_t exponent = 0x7f800000u;
    uint32_t found = 0;
    ptrdiff_t i;

    for (i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return !found;
}

HEADS_WIDE
static int heads_all_finite_f16(const uint16_t *numbers, ptrdiff_t count)
{
    const uint16_t exponent = 0x7c00u;
    uint16_t found = 0;
    ptrdiff_t i;

    for (i = 0; i < count; i++) {
        found |= (uint16_t)((numbers[i] & exponent) == exponent);
    }
    return !found;
}

/* IEEE 754 binary16 -> binary32, exact, NaN and infinity included. No branch and no table, so that loops vectorise;
 * no subnormal binary32 on the way, so that a thread which flushes those to zero reads the same number. */
static inline float heads_half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t magnitude = half & 0x7fffu;
    const uint32_t shifted = magnitude << 13;
    /* The exponent's bias goes from 15 to 127; infinity and NaN go from exponent 31 to 255. */
    const uint32_t normal = shifted + (magnitude >= 0x7c00u ? 224u << 23 : 112u << 23);
    /* A subnormal half is m * 2^-24: put m below the leading one of 2^-14, then take that one away. */
    const uint32_t smallest_bits = 113u << 23;
    const uint32_t raised_bits = shifted + smallest_bits;
    float smallest, raised, difference, result;
    uint32_t subnormal, bits;

    memcpy(&smallest, &smallest_bits, sizeof smallest);
    memcpy(&raised, &raised_bits, sizeof raised);
    difference = raised - smallest;
    memcpy(&subnormal, &difference, sizeof subnormal);
    bits = sign | (magnitude < 0x0400u ? subnormal : normal);
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* The largest of count numbers. NaN never wins; without another number, minus infinity. Sixteen running maxima, for
 * the compiler may not take a single one apart. */
HEADS_WIDE static float heads_row_max_f32(const float *row, ptrdiff_t count)
{
    float best[16], largest = -__builtin_inff();
    ptrdiff_t i = 0;
    for (int lane = 0; lane < 16; lane++)
        best[lane] = -__builtin_inff();
    for (; i + 16 <= count; i += 16)
        for (int lane = 0; lane < 16; lane++)
            best[lane] = row[i + lane] > best[lane] ? row[i + lane] : best[lane];
    for (; i < count; i++)
        largest = row[i] > largest ? row[i] : largest;
    for (int lane = 0; lane < 16; lane++)
        largest = best[lane] > largest ? best[lane] : largest;
    return largest;
}

/* best[i] = the largest of rows 0..row_count-1 at i, for i < count (rows lie row_stride apart). NaN never wins. With
 * no row, or none but NaN, minus infinity. */
HEADS_WIDE static void heads_column_max_f32(
    float *restrict best, const float *restrict rows, ptrdiff_t row_stride, ptrdiff_t row_count, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++)
        best[i] = -__builtin_inff();
    for (ptrdiff_t r = 0; r < row_count; r++) {
        const float *row = rows + r * row_stride;
        for (ptrdiff_t i = 0; i < count; i++)
            best[i] = row[i] > best[i] ? row[i] : best[i];
    }
}

HEADS_WIDE static void heads_column_max_f16(
    float *restrict best, const uint16_t *restrict rows, ptrdiff_t row_stride, ptrdiff_t row_count, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++)
        best[i] = -__builtin_inff();
    for (ptrdiff_t r = 0; r < row_count; r++) {
        const uint16_t *row = rows + r * row_stride;
        for (ptrdiff_t i = 0; i < count; i++) {
            const float value = heads_half_to_float(row[i]);
            best[i] = value > best[i] ? value : best[i];
        }
    }
}

#endif
