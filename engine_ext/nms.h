/* Innermost loop of nms.pyx: does a box overlap one that was kept? */
#ifndef ENGINE_EXT_NMS_H
#define ENGINE_EXT_NMS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Two builds, chosen when the module is loaded. The same IEEE operations in the same order: both decide alike. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define NMS_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define NMS_WIDE
#endif

/* Kept boxes are looked through in whole blocks; the owner fills the last one up with zeros. A box of zeros has the
 * overlap 0 / area or 0 / 0 with any other, which is above no threshold. */
enum { NMS_BLOCK = 16 };

typedef struct {
    float *x1, *y1, *x2, *y2, *area; /* each of a multiple of NMS_BLOCK */
    int32_t *class_id;
} nms_kept;

/* A key whose ascending order is the descending order of scores. Both zeros give one key. Not for NaN. */
static inline uint32_t nms_descending_key(float score)
{
    const float unsigned_zero = score + 0.0f;
    uint32_t bits;
    memcpy(&bits, &unsigned_zero, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

static inline float nms_span(float low, float high)
{
    const float span = high - low;
    return span > 0.0f ? span : 0.0f;
}

static inline float nms_area(float x1, float y1, float x2, float y2)
{
    return nms_span(x1, x2) * nms_span(y1, y2);
}

/* 1 if the box has an intersection over union above the threshold with one of the first `count` kept boxes of its
 * class, else 0. Boxes are finite; where areas overflow, a NaN compares as not above. */
NMS_WIDE static int nms_overlaps(
    const nms_kept *kept, ptrdiff_t count, float x1, float y1, float x2, float y2, int32_t class_id, float threshold)
{
    const float area = nms_area(x1, y1, x2, y2);
    for (ptrdiff_t first = 0; first < count; first += NMS_BLOCK) {
        const float *restrict kept_x1 = kept->x1 + first;
        const float *restrict kept_y1 = kept->y1 + first;
        const float *restrict kept_x2 = kept->x2 + first;
        const float *restrict kept_y2 = kept->y2 + first;
        const float *restrict kept_area = kept->area + first;
        const int32_t *restrict kept_class = kept->class_id + first;
        int32_t hit = 0;
        for (int i = 0; i < NMS_BLOCK; i++) {
            const float left = kept_x1[i] > x1 ? kept_x1[i] : x1;
            const float top = kept_y1[i] > y1 ? kept_y1[i] : y1;
            const float right = kept_x2[i] < x2 ? kept_x2[i] : x2;
            const float bottom = kept_y2[i] < y2 ? kept_y2[i] : y2;
            const float shared = nms_area(left, top, right, bottom);
            hit |= (shared / ((kept_area[i] + area) - shared) > threshold) & (kept_class[i] == class_id);
        }
        if (hit)
            return 1;
    }
    return 0;
}

#endif
