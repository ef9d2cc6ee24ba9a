/* How well the way to a detection agrees with a track's way so far: the innermost loop of ocsort.pyx. */
#ifndef ENGINE_EXT_ANGLE_H
#define ENGINE_EXT_ANGLE_H

#include <math.h>
#include <stddef.h>

/* Two builds, chosen when the module is loaded. The same IEEE operations in the same order: both give the same bits. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define ANGLE_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define ANGLE_WIDE
#endif

/* Choices as selections, not as branches: nobody looks at the flags that a comparison with NaN raises. */
#pragma GCC push_options
#pragma GCC optimize("no-trapping-math")

/* asin(x) for -1 <= x <= 1, within 3e-16, without a branch. asin(s) = s + s z P(z), z = s^2 <= 1/4, with P interpolated
 * at Chebyshev nodes; above 1/2 by asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)). */
static inline double angle_asin(double x)
{
    const double size = fabs(x);
    const double square = size * size, half = (1.0 - size) * 0.5;
    const double z = size > 0.5 ? half : square;
    const double root = sqrt(z);
    double sum = 0.05651092529296875;
    sum = sum * z + -0.06458491086959839;
    sum = sum * z + 0.05351942777633667;
    sum = sum * z + -0.011851739254780114;
    sum = sum * z + 0.013562458101660013;
    sum = sum * z + 0.008799140480277856;
    sum = sum * z + 0.011677162985165523;
    sum = sum * z + 0.013953436941668507;
    sum = sum * z + 0.01735347700065515;
    sum = sum * z + 0.022372129590696094;
    sum = sum * z + 0.0303819452058573;
    sum = sum * z + 0.04464285713183524;
    sum = sum * z + 0.07500000000007298;
    sum = sum * z + 0.16666666666666655;
    const double s = size > 0.5 ? root : size;
    const double small = s + s * z * sum;
    const double large = 1.5707963267948966 - 2.0 * small;
    return copysign(size > 0.5 ? large : small, x);
}

/* weight x (90 degrees - angle between (dx, dy) and the way from (from_x, from_y) to (x, y)) / 180 degrees. 0 where
 * dx = dy = 0, and where a way is beyond the doubles. */
static inline double angle_gain(
    double x, double y, double from_x, double from_y, double dx, double dy, double weight)
{
    const double way_x = x - from_x, way_y = y - from_y;
    const double norm = sqrt(way_x * way_x + way_y * way_y) + 1e-6;
    double cosine = dx * (way_x / norm) + dy * (way_y / norm);
    cosine = cosine == cosine ? cosine : 0.0;
    cosine = cosine > 1.0 ? 1.0 : cosine;
    cosine = cosine < -1.0 ? -1.0 : cosine;
    return angle_asin(cosine) / 3.141592653589793 * weight;
}

ANGLE_WIDE static void angle_gains(
    double x, double y, double weight, const double *restrict from_x, const double *restrict from_y,
    const double *restrict dx, const double *restrict dy, ptrdiff_t count, double *restrict gains)
{
    for (ptrdiff_t k = 0; k < count; k++)
        gains[k] = angle_gain(x, y, from_x[k], from_y[k], dx[k], dy[k], weight);
}

/* Which of the tracks may have an angle whose cosine is `cosine` > 0 or more; no other has one. Their number, and in
 * `found` which. Neither roots nor divisions: this looks at every pair, angle_gain at few. */
ANGLE_WIDE static ptrdiff_t angle_below(
    double x, double y, double cosine, const double *restrict from_x, const double *restrict from_y,
    const double *restrict dx, const double *restrict dy, ptrdiff_t count, int *restrict found)
{
    enum { BLOCK = 16 };
    /* The headings are no longer than 1, and less by a part in 1e9 is as good as equal. */
    const double limit = cosine * cosine * (1.0 - 1e-9);
    ptrdiff_t total = 0;
    for (ptrdiff_t begin = 0; begin < count; begin += BLOCK) {
        const ptrdiff_t size = count - begin < BLOCK ? count - begin : BLOCK;
        double above[BLOCK];
        double most = -1.0;
        for (ptrdiff_t k = 0; k < size; k++) {
            const double way_x = x - from_x[begin + k], way_y = y - from_y[begin + k];
            const double along = dx[begin + k] * way_x + dy[begin + k] * way_y;
            const double length = way_x * way_x + way_y * way_y;
            above[k] = along > 0.0 ? along * along - limit * length : -1.0;
        }
        for (ptrdiff_t k = 0; k < size; k++)
            most = above[k] > most ? above[k] : most;
        if (most < 0.0)
            continue;
        for (ptrdiff_t k = 0; k < size; k++)
            if (!(above[k] < 0.0))
                found[total++] = (int)(begin + k);
    }
    return total;
}

#pragma GCC pop_options

#endif
