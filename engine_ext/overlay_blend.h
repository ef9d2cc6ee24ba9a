/* Text of overlay.pyx: how much of each pixel glyphs cover, and the mixing of two levels by it. */
#ifndef ENGINE_EXT_OVERLAY_BLEND_H
#define ENGINE_EXT_OVERLAY_BLEND_H

#include <stddef.h>
#include <stdint.h>

/* Two builds, chosen when the module is loaded. Integers: both give the same. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define BLEND_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define BLEND_WIDE
#endif

enum { BLEND_CHUNK = 16 };

/* Of 255 parts, `share` of ink: rounded. 16 bits suffice, and twice as many fit a register as of 32. */
static inline uint8_t blend_one(uint8_t ground, uint8_t ink, uint8_t share)
{
    const uint16_t left = (uint16_t)(ground * (uint16_t)(255 - share)), right = (uint16_t)(ink * (uint16_t)share);
    const uint16_t sum = (uint16_t)(left + right + 127);
    return (uint8_t)((uint16_t)(sum + 1 + (sum >> 8)) >> 8);
}

/* Rows are done in blocks of BLEND_CHUNK. What is left over is the last block once more, a little to the left: what
 * comes out depends on the mask alone, so that nothing is mixed twice. Labels are short: pixel by pixel, the rest would
 * take longer than all blocks. */
static inline void blend_luma_block(uint8_t *restrict out, const uint8_t *restrict mask, uint8_t ground, uint8_t ink)
{
    for (int x = 0; x < BLEND_CHUNK; x++)
        out[x] = blend_one(ground, ink, mask[x]);
}

static inline void blend_luma_row(uint8_t *restrict out, const uint8_t *restrict mask, ptrdiff_t width, uint8_t ground, uint8_t ink)
{
    if (width < BLEND_CHUNK) {
        for (ptrdiff_t x = 0; x < width; x++)
            out[x] = blend_one(ground, ink, mask[x]);
        return;
    }
    for (ptrdiff_t x = 0; x + BLEND_CHUNK <= width; x += BLEND_CHUNK)
        blend_luma_block(out + x, mask + x, ground, ink);
    blend_luma_block(out + width - BLEND_CHUNK, mask + width - BLEND_CHUNK, ground, ink);
}

BLEND_WIDE static void blend_luma(
    uint8_t *restrict out, ptrdiff_t stride, const uint8_t *restrict mask, ptrdiff_t mask_stride, ptrdiff_t rows,
    ptrdiff_t width, uint8_t ground, uint8_t ink)
{
    for (ptrdiff_t row = 0; row < rows; row++)
        blend_luma_row(out + row * stride, mask + row * mask_stride, width, ground, ink);
}

/* A block's chroma is the mean of its four pixels', so that text stays without colour where it fills the block. */
static inline void blend_chroma_one(
    uint8_t *restrict out_u, uint8_t *restrict out_v, const uint8_t *restrict upper, const uint8_t *restrict lower,
    ptrdiff_t x, uint8_t u, uint8_t v)
{
    const uint16_t sum = (uint16_t)(upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 2);
    const uint8_t covered = (uint8_t)(sum >> 2);
    out_u[x] = blend_one(u, 128, covered);
    out_v[x] = blend_one(v, 128, covered);
}

static inline void blend_chroma_row(
    uint8_t *restrict out_u, uint8_t *restrict out_v, const uint8_t *restrict upper, const uint8_t *restrict lower,
    ptrdiff_t width, uint8_t u, uint8_t v)
{
    if (width < BLEND_CHUNK) {
        for (ptrdiff_t x = 0; x < width; x++)
            blend_chroma_one(out_u, out_v, upper, lower, x, u, v);
        return;
    }
    for (ptrdiff_t at = 0;; at = at + BLEND_CHUNK < width - BLEND_CHUNK ? at + BLEND_CHUNK : width - BLEND_CHUNK) {
        for (int k = 0; k < BLEND_CHUNK; k++)
            blend_chroma_one(out_u + at, out_v + at, upper + 2 * at, lower + 2 * at, k, u, v);
        if (at == width - BLEND_CHUNK)
            return;
    }
}

/* Of two rows of the mask each. */
BLEND_WIDE static void blend_chroma(
    uint8_t *restrict out_u, ptrdiff_t stride_u, uint8_t *restrict out_v, ptrdiff_t stride_v,
    const uint8_t *restrict mask, ptrdiff_t mask_stride, ptrdiff_t rows, ptrdiff_t width, uint8_t u, uint8_t v)
{
    for (ptrdiff_t row = 0; row < rows; row++, mask += 2 * mask_stride)
        blend_chroma_row(out_u + row * stride_u, out_v + row * stride_v, mask, mask + mask_stride, width, u, v);
}

/* Rows of a glyph into rows of a mask: the larger of both, since the sides of glyphs overlap. */
static inline void blend_glyph(
    uint8_t *mask, ptrdiff_t mask_stride, const uint8_t *glyph, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t chunks)
{
    for (ptrdiff_t row = 0; row < rows; row++, mask += mask_stride, glyph += stride)
        for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) {
            uint8_t *at = mask + chunk * BLEND_CHUNK;
            const uint8_t *from = glyph + chunk * BLEND_CHUNK;
            for (int k = 0; k < BLEND_CHUNK; k++)
                at[k] = at[k] > from[k] ? at[k] : from[k];
        }
}

/* Cells of one row of the grid: all that lies there, and how many have a head (bit 0). Eight at a time. */
static inline uint64_t blend_cells(const uint8_t *cells, ptrdiff_t count, ptrdiff_t *heads)
{
    uint64_t there = 0, word;
    ptrdiff_t at = 0;
    for (; at + 8 <= count; at += 8) {
        __builtin_memcpy(&word, cells + at, 8);
        there |= word;
        *heads += __builtin_popcountll(word & 0x0101010101010101u);
    }
    for (; at < count; at++) {
        there |= cells[at];
        *heads += cells[at] & 1;
    }
    return there;
}

#endif
