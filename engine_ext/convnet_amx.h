/* The rows of a convolution in bfloat16 on AMX. Included by convnet.h, after convnet_bf16.h.
 *
 * A tile register holds 16 rows of 64 bytes. Of the input that is 16 pixels of 32 channels, of the weights 32 channels
 * (as 16 pairs) for 16 channels of the output, of the sums 16 pixels of one block of the output: what a tensor in blocks
 * of 16 channels is made of. Four sums at a time, of up to 32 pixels and two blocks, meet two of the input and two of
 * the weights.
 */
#include <sys/syscall.h>
#include <unistd.h>

#define CONVNET_AMX_TARGET                                                                                             \
    __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))

/* Sums of `pixels` tiles of pixels and `blocks` blocks, 1 or 2 each: tile[block][32][16]. */
#define CONVNET_AMX_SUMS(pixels, blocks)                                                                               \
    do {                                                                                                               \
        _tile_loadd(0, bias, 0);                                                                                       \
        if (pixels > 1)                                                                                                \
            _tile_loadd(1, bias, 0);                                                                                   \
        if (blocks > 1)                                                                                                \
            _tile_loadd(2, bias + 16, 0);                                                                              \
        if (pixels > 1 && blocks > 1)                                                                                  \
            _tile_loadd(3, bias + 16, 0);                                                                              \
        const uint16_t *w = weights;                                                                                   \
        for (int64_t ky = 0; ky < s->kernel_height; ky++)                                                              \
            for (int64_t i = 0; i < parts; i++) {                                                                      \
                const uint16_t *from = rows[ky] + (i * span + x * s->stride_width) * 32;                               \
                for (int64_t kx = 0; kx < s->kernel_width; kx++, from += 32, w += 512) {                               \
                    _tile_loadd(4, from, step);                                                                        \
                    _tile_loadd(6, w, 64);                                                                             \
                    _tile_dpbf16ps(0, 4, 6);                                                                           \
                    if (pixels > 1) {                                                                                  \
                        _tile_loadd(5, from + 8 * step, step);                                                         \
                        _tile_dpbf16ps(1, 5, 6);                                                                       \
                    }                                                                                                  \
                    if (blocks > 1) {                                                                                  \
                        _tile_loadd(7, w + taps * 512, 64);                                                            \
                        _tile_dpbf16ps(2, 4, 7);                                                                       \
                    }                                                                                                  \
                    if (pixels > 1 && blocks > 1)                                                                      \
                        _tile_dpbf16ps(3, 5, 7);                                                                       \
                }                                                                                                      \
            }                                                                                                          \
        _tile_stored(0, tile, 64);                                                                                     \
        if (pixels > 1)                                                                                                \
            _tile_stored(1, tile + 256, 64);                                                                           \
        if (blocks > 1)                                                                                                \
            _tile_stored(2, tile + 512, 64);                                                                           \
        if (pixels > 1 && blocks > 1)                                                                                  \
            _tile_stored(3, tile + 768, 64);                                                                           \
    } while (0)

static CONVNET_AMX_TARGET void convnet_amx_row(const ConvnetStep *s, const ConvnetBuffers *at,
                                                const uint16_t *const *rows, int64_t span, int64_t y, int64_t first,
                                                int64_t end)
{
    const int64_t parts = (s->in_channels + 31) / 32, out_blocks = (s->out_channels + 15) / 16;
    const int64_t taps = s->kernel_height * s->kernel_width * parts, step = s->stride_width * 64;
    const float *numbers = at->weights + s->activation_at;
    float tile[1024] __attribute__((aligned(64)));
    for (int64_t b = 0; b < out_blocks; b += 2) {
        const int64_t blocks = out_blocks - b < 2 ? out_blocks - b : 2;
        const uint16_t *weights = (const uint16_t *)(at->weights + s->weights_at) + b * taps * 512;
        const float *bias = at->weights + s->bias_at + b * 16;
        for (int64_t x = 0; x < end - first; x += 32) {
            const int64_t count = end - first - x < 32 ? end - first - x : 32;
            if (count > 16 && blocks > 1)
                CONVNET_AMX_SUMS(2, 2);
            else if (count > 16)
                CONVNET_AMX_SUMS(2, 1);
            else if (blocks > 1)
                CONVNET_AMX_SUMS(1, 2);
            else
                CONVNET_AMX_SUMS(1, 1);
            const int64_t pixel = y * s->out_width + first + x;
            if (s->row_length) {
                for (int64_t i = 0; i < blocks; i++) {
                    finish_avx512(tile + i * 512, 0, tile, 0, tile + i * 512, 0, 1, count * 16, s->activation,
                                  CONVNET_NO_OTHER, numbers);
                    store_rows_avx512(tile + i * 512, 1, count, s->out_channels - (b + i) * 16,
                                      at->output + s->out_at + pixel * s->row_length + (b + i) * 16, s->row_length);
                }
                continue;
            }
            finish_avx512(tile, 512, at->workspace + s->other_at + b * s->other_block + pixel * 16, s->other_block,
                          at->workspace + s->out_at + b * s->out_block + pixel * 16, s->out_block, blocks, count * 16,
                          s->activation, s->other_when, numbers);
        }
    }
}

static CONVNET_AMX_TARGET void convnet_conv_amx(const ConvnetStep *s, const ConvnetBuffers *at)
{
    static const struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape __attribute__((aligned(64))) = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shape);
    convnet_conv_bf16(s, at, convnet_amx_row);
    _tile_release();
}

/* Whether the processor has it, and the kernel lets this process use it: it asks for that. */
static inline int convnet_has_amx(void)
{
    unsigned a, b, c, d;
    if (!convnet_has_dot() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1))
        return 0;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
}
