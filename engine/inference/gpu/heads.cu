/* A model's raw outputs -> the anchors that pass, so that only those leave the GPU.
 *
 * One thread an anchor, one row of the grid an image. The decisions are those of engine_ext/decode_heads.pyx: the same
 * anchors pass with the same scores and classes, and the same boxes but for the last bits of expf (yolox). Who passes
 * takes the next free row of the image's candidates, in any order; each has its anchor's number, by which the host puts
 * them in order. `counts` also counts those for which no row was left: nothing is lost without its being seen.
 *
 * Like letterbox.cu without a header, and a C++ compiler takes it too.
 */
#define HEADS_LEVELS 8

/* Field by field protocol.CANDIDATE. */
struct HeadsCandidate {
    int index, class_id;
    float score;
    float x1, y1, x2, y2;
};

/* Field by field the `JOB` of heads_job.py. */
struct HeadsJob {
    const void *output;              /* (images, anchors, features); yolov8: (images, features, anchors) */
    const unsigned char *class_mask; /* (mask_classes,), nonzero where a class is wanted */
    int *counts;                     /* (images,), zero before */
    HeadsCandidate *candidates;      /* (images, capacity) */
    int anchors, features;           /* features: 4 or 5, and the classes */
    int mask_classes;                /* 0: every class is wanted */
    int capacity;
    float conf;
    float class_limit; /* end2end: a class is below it */
    int input_h, input_w; /* yolox: of the model's input */
    int levels;
    int strides[HEADS_LEVELS];
};

static_assert(sizeof(HeadsCandidate) == 28, "HeadsCandidate is not protocol.CANDIDATE");
static_assert(sizeof(HeadsJob) == 104, "HeadsJob is not the JOB of heads_job.py");

static __device__ __forceinline__ float heads_infinity()
{
    return __uint_as_float(0x7f800000);
}

static __device__ __forceinline__ bool heads_finite(float value)
{
    return (__float_as_uint(value) & 0x7f800000) != 0x7f800000;
}

static __device__ __forceinline__ float heads_load(const float *sample)
{
    return *sample;
}

/* binary16 -> binary32, exact, NaN and infinity included. */
static __device__ __forceinline__ float heads_load(const unsigned short *sample)
{
    const unsigned int sign = (unsigned int)(*sample & 0x8000) << 16, magnitude = *sample & 0x7fff;
    const unsigned int shifted = magnitude << 13;
    /* The exponent's bias goes from 15 to 127; infinity and NaN go from exponent 31 to 255. */
    const unsigned int normal = shifted + (magnitude >= 0x7c00 ? 224u << 23 : 112u << 23);
    /* A subnormal half is m * 2**-24: put m below the leading one of 2**-14, then take that one away. */
    const float raised = __uint_as_float(shifted + (113u << 23));
    const unsigned int subnormal = __float_as_uint(__fsub_rn(raised, __uint_as_float(113u << 23)));
    return __uint_as_float(sign | (magnitude < 0x0400 ? subnormal : normal));
}

static __device__ __forceinline__ bool heads_wanted(const HeadsJob &job, int class_id)
{
    return job.mask_classes == 0 || job.class_mask[class_id] != 0;
}

/* Whether a score passes and is a number. */
static __device__ __forceinline__ bool heads_passes(const HeadsJob &job, float score)
{
    return score >= job.conf && score < heads_infinity();
}

static __device__ __forceinline__ void heads_add_xyxy(const HeadsJob &job, int image, int anchor, float x1, float y1,
                                                      float x2, float y2, float score, int class_id)
{
    if (!(heads_finite(x1) && heads_finite(y1) && heads_finite(x2) && heads_finite(y2)))
        return;
    const int row = atomicAdd(job.counts + image, 1);
    if (row >= job.capacity)
        return;
    const HeadsCandidate found = {anchor, class_id, score, x1, y1, x2, y2};
    job.candidates[(long long)image * job.capacity + row] = found;
}

static __device__ __forceinline__ void heads_add_cxcywh(const HeadsJob &job, int image, int anchor, float cx, float cy,
                                                        float w, float h, float score, int class_id)
{
    const float half_w = __fmul_rn(0.5f, w), half_h = __fmul_rn(0.5f, h);
    heads_add_xyxy(job, image, anchor, __fsub_rn(cx, half_w), __fsub_rn(cy, half_h), __fadd_rn(cx, half_w),
                   __fadd_rn(cy, half_h), score, class_id);
}

/* The highest of `classes` scores that lie `step` apart, ties to the lower class; NaN never wins. */
template <typename Number>
static __device__ __forceinline__ float heads_best(const Number *scores, long long step, int classes, int *class_id)
{
    float best = -heads_infinity();
    *class_id = 0;
    for (int each = 0; each < classes; each++) {
        const float score = heads_load(scores + each * step);
        if (score > best) {
            best = score;
            *class_id = each;
        }
    }
    return best;
}

/* The cell and the stride of an anchor of a YOLOX grid: levels in order, each row by row. */
static __device__ __forceinline__ float heads_cell(const HeadsJob &job, int anchor, int *x, int *y)
{
    for (int level = 0; level < job.levels; level++) {
        const int stride = job.strides[level], columns = job.input_w / stride, cells = job.input_h / stride * columns;
        if (anchor < cells) {
            *x = anchor % columns;
            *y = anchor / columns;
            return (float)stride;
        }
        anchor -= cells;
    }
    *x = *y = 0;
    return 0.0f; /* never: the host has checked the number of anchors */
}

/* Rows with an objectness. */
template <typename Number, bool grid> static __device__ __forceinline__ void heads_rows(const HeadsJob &job)
{
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x, image = blockIdx.y;
    if (anchor >= job.anchors)
        return;
    const Number *row = (const Number *)job.output + ((long long)image * job.anchors + anchor) * job.features;
    const float objectness = heads_load(row + 4);
    if (!(objectness >= job.conf))
        return;
    int class_id;
    const float best = heads_best(row + 5, 1, job.features - 5, &class_id);
    const float score = __fmul_rn(objectness, best);
    if (!heads_passes(job, score) || !heads_wanted(job, class_id))
        return;
    float cx = heads_load(row), cy = heads_load(row + 1), w = heads_load(row + 2), h = heads_load(row + 3);
    if (grid) {
        int x, y;
        const float stride = heads_cell(job, anchor, &x, &y);
        cx = __fmul_rn(__fadd_rn(cx, (float)x), stride);
        cy = __fmul_rn(__fadd_rn(cy, (float)y), stride);
        w = __fmul_rn(expf(w), stride);
        h = __fmul_rn(expf(h), stride);
    }
    heads_add_cxcywh(job, image, anchor, cx, cy, w, h, score, class_id);
}

/* Columns without one: neighbouring threads read neighbouring numbers. */
template <typename Number> static __device__ __forceinline__ void heads_columns(const HeadsJob &job)
{
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x, image = blockIdx.y;
    if (anchor >= job.anchors)
        return;
    const long long step = job.anchors;
    const Number *column = (const Number *)job.output + (long long)image * job.features * step + anchor;
    int class_id;
    const float score = heads_best(column + 4 * step, step, job.features - 4, &class_id);
    if (!heads_passes(job, score) || !heads_wanted(job, class_id))
        return;
    heads_add_cxcywh(job, image, anchor, heads_load(column), heads_load(column + step), heads_load(column + 2 * step),
                     heads_load(column + 3 * step), score, class_id);
}

/* Finished detections. A row whose class is none makes the count too large: the host then reads the whole output, and
 * says what is wrong with it. */
template <typename Number> static __device__ __forceinline__ void heads_finished(const HeadsJob &job)
{
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x, image = blockIdx.y;
    if (anchor >= job.anchors)
        return;
    const Number *row = (const Number *)job.output + ((long long)image * job.anchors + anchor) * job.features;
    const float score = heads_load(row + 4);
    if (!heads_passes(job, score))
        return;
    const float class_number = heads_load(row + 5);
    /* Below zero: an empty row of a fixed-size output. Not finite: dropped like a box that is not. */
    if (!(class_number >= 0.0f && class_number < heads_infinity()))
        return;
    if (class_number != floorf(class_number) || class_number >= job.class_limit) {
        atomicMax(job.counts + image, job.capacity + 1);
        return;
    }
    if (!heads_wanted(job, (int)class_number))
        return;
    heads_add_xyxy(job, image, anchor, heads_load(row), heads_load(row + 1), heads_load(row + 2), heads_load(row + 3),
                   score, (int)class_number);
}

extern "C" __global__ void heads_yolox_float32(const __grid_constant__ HeadsJob job)
{
    heads_rows<float, true>(job);
}

extern "C" __global__ void heads_yolox_float16(const __grid_constant__ HeadsJob job)
{
    heads_rows<unsigned short, true>(job);
}

extern "C" __global__ void heads_yolov5_float32(const __grid_constant__ HeadsJob job)
{
    heads_rows<float, false>(job);
}

extern "C" __global__ void heads_yolov5_float16(const __grid_constant__ HeadsJob job)
{
    heads_rows<unsigned short, false>(job);
}

extern "C" __global__ void heads_yolov8_float32(const __grid_constant__ HeadsJob job)
{
    heads_columns<float>(job);
}

extern "C" __global__ void heads_yolov8_float16(const __grid_constant__ HeadsJob job)
{
    heads_columns<unsigned short>(job);
}

extern "C" __global__ void heads_end2end_float32(const __grid_constant__ HeadsJob job)
{
    heads_finished<float>(job);
}

extern "C" __global__ void heads_end2end_float16(const __grid_constant__ HeadsJob job)
{
    heads_finished<unsigned short>(job);
}
