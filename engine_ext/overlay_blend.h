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
 * take longer than all blocks. So would a loop over a block's pixels, of which GCC takes the last ones by themselves:
 * hence its vectors. */
typedef uint8_t blend_bytes __attribute__((vector_size(16)));
typedef uint16_t blend_words __attribute__((vector_size(32)));

#define BLEND_WORDS(into, ground, ink, share)                                                                          \
    do {                                                                                                               \
        const blend_words sum = (255 - (share)) * (uint16_t)(ground) + (share) * (uint16_t)(ink) + 127;                 \
        const blend_bytes mixed = __builtin_convertvector((sum + 1 + (sum >> 8)) >> 8, blend_bytes);                    \
        __builtin_memcpy(into, &mixed, BLEND_CHUNK);                                                                   \
    } while (0)

BLEND_WIDE static void blend_luma(
    uint8_t *restrict out, ptrdiff_t stride, const uint8_t *restrict mask, ptrdiff_t mask_stride, ptrdiff_t rows,
    ptrdiff_t width, uint8_t ground, uint8_t ink)
{
    const ptrdiff_t last = width - BLEND_CHUNK;
    for (ptrdiff_t row = 0; row < rows; row++, out += stride, mask += mask_stride) {
        if (last < 0) {
            for (ptrdiff_t x = 0; x < width; x++)
                out[x] = blend_one(ground, ink, mask[x]);
            continue;
        }
        for (ptrdiff_t x = 0; x < width; x += BLEND_CHUNK) {
            const ptrdiff_t at = x < last ? x : last;
            blend_bytes covered;
            __builtin_memcpy(&covered, mask + at, BLEND_CHUNK);
            const blend_words share = __builtin_convertvector(covered, blend_words);
            BLEND_WORDS(out + at, ground, ink, share);
        }
    }
}

/* A block's chroma is the mean of its four pixels', so that text stays without colour where it fills the block. Of two
 * rows of the mask each. */
BLEND_WIDE static void blend_chroma(
    uint8_t *restrict out_u, ptrdiff_t stride_u, uint8_t *restrict out_v, ptrdiff_t stride_v,
    const uint8_t *restrict mask, ptrdiff_t mask_stride, ptrdiff_t rows, ptrdiff_t width, uint8_t u, uint8_t v)
{
    const ptrdiff_t last = width - BLEND_CHUNK;
    for (ptrdiff_t row = 0; row < rows; row++, out_u += stride_u, out_v += stride_v, mask += 2 * mask_stride) {
        const uint8_t *lower = mask + mask_stride;
        if (last < 0) {
            for (ptrdiff_t x = 0; x < width; x++) {
                const int sum = mask[2 * x] + mask[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 2;
                out_u[x] = blend_one(u, 128, (uint8_t)(sum >> 2));
                out_v[x] = blend_one(v, 128, (uint8_t)(sum >> 2));
            }
            continue;
        }
        for (ptrdiff_t x = 0; x < width; x += BLEND_CHUNK) {
            const ptrdiff_t at = x < last ? x : last;
            blend_words above, below;
            __builtin_memcpy(&above, mask + 2 * at, 2 * BLEND_CHUNK);
            __builtin_memcpy(&below, lower + 2 * at, 2 * BLEND_CHUNK);
            /* Two pixels lie in each word, whichever of them comes first. */
            const blend_words share = ((above & 255) + (above >> 8) + (below & 255) + (below >> 8) + 2) >> 2;
            BLEND_WORDS(out_u + at, u, 128, share);
            BLEND_WORDS(out_v + at, v, 128, share);
        }
    }
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
