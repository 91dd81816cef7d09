// Products with frozen matrices that were packed once.
#include "set.h"

namespace ri::kernels::RI_SET {

namespace {

constexpr int64_t block_in = 1536;  // inputs of one pass over a panel: what stays in the first two cache levels
constexpr int64_t block_rows = 192; // rows of one pass; a multiple of each set's tile
static_assert(block_rows % tile_rows == 0);

// A matrix larger than the caches is read from front to back once for each token. What is read next
// is asked for so many bytes ahead: where there is more to compute on the way, the processor looks
// less far ahead by itself.
constexpr int64_t bytes_ahead = 8192;
RI_INLINE void ask_ahead(const void *data, int64_t n_bytes, int64_t ahead = bytes_ahead) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(static_cast<const char *>(data) + ahead + i);
}

// Adds a tile to y, or writes it there; only `columns` of its numbers exist.
template <int rows>
RI_INLINE void write_tile(const Vector sum[rows][panel_vectors], float *y, int64_t y_row, int64_t columns, bool add) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
        for (int c = 0; c < panel_vectors; ++c) {
            const int64_t left = columns - lanes * c;
            float *out = y + r * y_row + lanes * c;
            if (left >= lanes)
                store(out, add ? load(out) + sum[r][c] : sum[r][c]);
            else if (left > 0)
                store(out, add ? load(out, left) + sum[r][c] : sum[r][c], left);
        }
}

// What a tile multiplies: `inputs` numbers of each row of x, by a panel from its input on that x
// starts with.
struct Operands {
    const float *x;
    int64_t x_row;
    const void *panel;
    int64_t inputs;
};

// Sums a tile over a float32 panel: one of the matrix, or one that was just written and lies in the
// cache, where asking ahead only costs time.
template <bool in_cache> struct Floats {
    static constexpr int64_t bytes_of_input = panel * sizeof(float);

    template <int rows> RI_INLINE void tile(const Operands &o, float *y, int64_t y_row, int64_t columns, bool add) {
        const float *b = static_cast<const float *>(o.panel);
        Vector sum[rows][panel_vectors] = {};
        for (int64_t i = 0; i < o.inputs; ++i, b += panel) {
            if constexpr (!in_cache) ask_ahead(b, bytes_of_input);
            Vector w[panel_vectors];
#pragma GCC unroll 3
            for (int c = 0; c < panel_vectors; ++c) w[c] = load(b + c * lanes);
#pragma GCC unroll 8
            for (int r = 0; r < rows; ++r) {
                const Vector x = all<Vector>(o.x[r * o.x_row + i]);
#pragma GCC unroll 3
                for (int c = 0; c < panel_vectors; ++c) sum[r][c] += x * w[c];
            }
        }
        write_tile<rows>(sum, y, y_row, columns, add);
    }
};

using OfMatrix = Floats<false>;
using InCache = Floats<true>;

// The same over a bfloat16 panel of the matrix, widened on the way.
struct Widened {
    static constexpr int64_t bytes_of_input = panel * sizeof(uint16_t);

    template <int rows> RI_INLINE void tile(const Operands &o, float *y, int64_t y_row, int64_t columns, bool add) {
        const uint16_t *b = static_cast<const uint16_t *>(o.panel);
        Vector sum[rows][panel_vectors] = {};
        const int64_t pairs = o.inputs / 2;
        for (int64_t p = 0; p < pairs; ++p, b += 2 * panel) {
            ask_ahead(b, 2 * bytes_of_input);
            add_input<rows, false>(o.x + 2 * p, o.x_row, b, sum);
            add_input<rows, true>(o.x + 2 * p + 1, o.x_row, b, sum);
        }
        if (o.inputs & 1) add_input<rows, false>(o.x + 2 * pairs, o.x_row, b, sum);
        write_tile<rows>(sum, y, y_row, columns, add);
    }

  private:
    // The first numbers of pairs, or the second ones.
    template <int rows, bool second>
    RI_INLINE void add_input(const float *x, int64_t x_row, const uint16_t *b, Vector sum[rows][panel_vectors]) {
        Vector w[panel_vectors];
#pragma GCC unroll 3
        for (int c = 0; c < panel_vectors; ++c) {
            Words pair;
            memcpy(&pair, b + 2 * c * lanes, sizeof pair);
            w[c] = (Vector)(second ? pair & 0xffff0000u : pair << 16);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const Vector factor = all<Vector>(x[r * x_row]);
#pragma GCC unroll 3
            for (int c = 0; c < panel_vectors; ++c) sum[r][c] += factor * w[c];
        }
    }
};

template <typename Kind, int rows> void tile(const Operands &o, float *y, int64_t y_row, int64_t columns, bool add) {
    Kind::template tile<rows>(o, y, y_row, columns, add);
}

using Tile = void (*)(const Operands &, float *, int64_t, int64_t, bool);
template <typename Kind>
constexpr Tile tiles[] = {nullptr,       tile<Kind, 1>, tile<Kind, 2>, tile<Kind, 3>, tile<Kind, 4>,
                          tile<Kind, 5>, tile<Kind, 6>, tile<Kind, 7>, tile<Kind, 8>};

// Threads share the rows where there are enough for all, else the panels.
struct Work {
    Share rows, panels;
};
Work work_of(const Packed &m, int64_t rows, int ith, int nth) {
    const int64_t panels = (m.n_out + panel - 1) / panel;
    if (rows >= 32 * nth) return {share_of(rows, ith, nth, tile_rows), {0, panels}};
    return {{0, rows}, share_of(panels, ith, nth)};
}

// The rows of a block by one panel. `y` is where the panel's first output of the first row goes.
template <typename Kind>
void multiply_panel(const Operands &o, int64_t rows, float *y, int64_t y_row, int64_t columns, bool add) {
    for (int64_t r = 0; r < rows; r += tile_rows)
        tiles<Kind>[least(tile_rows, rows - r)]({o.x + r * o.x_row, o.x_row, o.panel, o.inputs}, y + r * y_row, y_row,
                                                columns, add);
}

// Where registers are few, widening on the way spills some of them: a panel that enough rows share
// is widened first.
constexpr int64_t rows_worth_widening = registers == 32 ? INT64_MAX : 2 * tile_rows;

void widen(const uint16_t *pairs, int64_t inputs, float *panel_of_floats) {
    for (int64_t i = 0; i < inputs; i += 2, pairs += 2 * panel, panel_of_floats += 2 * panel)
        for (int64_t c = 0; c < panel; c += lanes) {
            Words pair;
            memcpy(&pair, pairs + 2 * c, sizeof pair);
            store(panel_of_floats + c, (Vector)(pair << 16));
            if (i + 1 < inputs) store(panel_of_floats + panel + c, (Vector)(pair & 0xffff0000u));
        }
}

void multiply_floats(const Packed &m, const float *x, int64_t rows, float *y, int ith, int nth) {
    const Work work = work_of(m, rows, ith, nth);
    const bool narrow = m.weights == Weights::bf16;
    const int64_t input_bytes = narrow ? Widened::bytes_of_input : OfMatrix::bytes_of_input;
    const int64_t panel_bytes = (narrow ? (m.n_in + 1) / 2 * 2 : m.n_in) * input_bytes; // bfloat16 inputs lie in pairs
    float *widened = scratch(size_t(least(m.n_in, block_in) * panel));
    for (int64_t in = 0; in < m.n_in; in += block_in)
        for (int64_t row = work.rows.first; row < work.rows.last; row += block_rows)
            for (int64_t p = work.panels.first; p < work.panels.last; ++p) {
                const int64_t n_rows = least(block_rows, work.rows.last - row);
                Operands o{x + row * m.n_in + in, m.n_in,
                           static_cast<const char *>(m.data) + p * panel_bytes + in * input_bytes,
                           least(block_in, m.n_in - in)};
                float *out = y + row * m.n_out + p * panel;
                const int64_t columns = m.n_out - p * panel;
                if (!narrow) {
                    multiply_panel<OfMatrix>(o, n_rows, out, m.n_out, columns, in > 0);
                } else if (n_rows < rows_worth_widening) {
                    multiply_panel<Widened>(o, n_rows, out, m.n_out, columns, in > 0);
                } else {
                    widen(static_cast<const uint16_t *>(o.panel), o.inputs, widened);
                    o.panel = widened;
                    multiply_panel<InCache>(o, n_rows, out, m.n_out, columns, in > 0);
                }
            }
}

#if defined(__AVX512BF16__)

// Rows of bfloat16 pairs [rows, pairs] from float rows of n numbers, n odd or even; the missing
// half of a pair is zero.
void round_rows(const float *x, int64_t stride, int64_t rows, int64_t n, uint32_t *dst, int64_t pairs) {
    for (int64_t r = 0; r < rows; ++r) {
        auto *out = reinterpret_cast<uint16_t *>(dst + r * pairs);
        const float *in = x + r * stride;
        int64_t i = 0;
        for (; i + lanes <= n; i += lanes)
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + i),
                                (__m256i)_mm512_cvtneps_pbh((__m512)load(in + i)));
        if (i < n)
            _mm256_mask_storeu_epi16(out + i, __mmask16((1u << (2 * pairs - i)) - 1),
                                     (__m256i)_mm512_cvtneps_pbh((__m512)load(in + i, n - i)));
    }
}

// A tile whose rows are bfloat16 pairs as well.
template <int rows>
void paired_tile(const uint32_t *a, int64_t a_row, const uint16_t *b, int64_t pairs, float *y, int64_t y_row,
                 int64_t columns, bool add) {
    Vector sum[rows][panel_vectors] = {};
    for (int64_t p = 0; p < pairs; ++p, b += 2 * panel) {
        ask_ahead(b, 2 * panel * int64_t(sizeof(*b)));
        __m512bh w[panel_vectors];
#pragma GCC unroll 3
        for (int c = 0; c < panel_vectors; ++c) w[c] = (__m512bh)_mm512_load_si512(b + 2 * c * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(int(a[r * a_row + p]));
#pragma GCC unroll 3
            for (int c = 0; c < panel_vectors; ++c) sum[r][c] = (Vector)_mm512_dpbf16_ps((__m512)sum[r][c], w[c], x);
        }
    }
    write_tile<rows>(sum, y, y_row, columns, add);
}

using PairedTile = void (*)(const uint32_t *, int64_t, const uint16_t *, int64_t, float *, int64_t, int64_t, bool);
constexpr PairedTile paired_tiles[] = {nullptr,        paired_tile<1>, paired_tile<2>, paired_tile<3>, paired_tile<4>,
                                       paired_tile<5>, paired_tile<6>, paired_tile<7>, paired_tile<8>};

// The rows of a block by one panel.
void multiply_panel_of_pairs(const uint32_t *x, int64_t x_row, int64_t rows, const uint16_t *b, int64_t pairs, float *y,
                             int64_t y_row, int64_t columns, bool add) {
    for (int64_t r = 0; r < rows; r += tile_rows)
        paired_tiles[least(tile_rows, rows - r)](x + r * x_row, x_row, b, pairs, y + r * y_row, y_row, columns, add);
}

// Each thread rounds the rows it needs by itself, which needs no barrier.
void multiply_pairs(const Packed &m, const float *x, int64_t rows, float *y, int ith, int nth) {
    const Work work = work_of(m, rows, ith, nth);
    const int64_t all_pairs = (m.n_in + 1) / 2, block_pairs = least(all_pairs, block_in / 2);
    auto *rounded = reinterpret_cast<uint32_t *>(scratch(size_t(block_rows * block_pairs)));
    for (int64_t pair = 0; pair < all_pairs; pair += block_pairs) {
        const int64_t pairs = least(block_pairs, all_pairs - pair);
        const int64_t inputs = least(m.n_in - 2 * pair, 2 * pairs);
        for (int64_t row = work.rows.first; row < work.rows.last; row += block_rows) {
            const int64_t n_rows = least(block_rows, work.rows.last - row);
            round_rows(x + row * m.n_in + 2 * pair, m.n_in, n_rows, inputs, rounded, pairs);
            for (int64_t p = work.panels.first; p < work.panels.last; ++p)
                multiply_panel_of_pairs(rounded, pairs, n_rows,
                                        static_cast<const uint16_t *>(m.data) + (p * all_pairs + pair) * panel * 2,
                                        pairs, y + row * m.n_out + p * panel, m.n_out, m.n_out - p * panel, pair > 0);
        }
    }
}

#endif

// ---- whole numbers
//
// A panel is unpacked on the way: in registers for few rows, else into memory, as a panel of the
// kind that the set multiplies by fastest. Either way the sums are those of such a panel.

static_assert(block_in % block_inputs == 0);
constexpr int64_t few_rows = 4;
// Panels side by side of a single row: where registers are few, the sums of one would wait for each
// other.
constexpr int panels_of_row = registers == 32 ? 1 : 2;

// A block of whole numbers of a panel.
constexpr int64_t block_bytes = panel * int64_t(2 * sizeof(float) + sizeof(int8_t) * block_inputs);
struct WholeBlock {
    const char *data;

    Vector scale(int64_t column) const { return load(reinterpret_cast<const float *>(data) + column); }
    Vector offset(int64_t column) const { return load(reinterpret_cast<const float *>(data) + panel + column); }
    // `lanes` numbers from the given one on.
    Vector whole(int64_t first) const {
        return load_whole(reinterpret_cast<const int8_t *>(data + 2 * panel * int64_t(sizeof(float))) + first);
    }
    // Asks for what lies so many bytes ahead of part i of n of the block.
    void ask_ahead_of(int64_t i, int64_t n, int64_t ahead) const {
        ask_ahead(data + i * block_bytes / n, block_bytes / n, ahead);
    }
};

#if defined(__AVX512BF16__)

using Input = uint32_t; // a pair
constexpr int64_t inputs_together = 2;

// Inputs of a block in bfloat16, pair by pair, which is how its numbers lie, too.
struct Unpacked {
    Vector scale[2 * panel_vectors], offset[2 * panel_vectors];

    // Of each output twice, for the two numbers of a pair.
    static Vector twice(Vector v, int half) {
        constexpr Words low = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
        return (Vector)_mm512_permutexvar_ps((__m512i)(low + uint32_t(8 * half)), (__m512)v);
    }
    Unpacked() = default;
    explicit Unpacked(WholeBlock block) {
#pragma GCC unroll 6
        for (int v = 0; v < 2 * panel_vectors; ++v) {
            scale[v] = twice(block.scale(v / 2 * lanes), v % 2);
            offset[v] = twice(block.offset(v / 2 * lanes), v % 2);
        }
    }
    // Of a pair the weights of the outputs of vector c.
    __m512bh weights(WholeBlock block, int64_t pair, int c) const {
        const int64_t first = 2 * (pair * panel + c * lanes);
        const Vector low = block.whole(first) * scale[2 * c] + offset[2 * c];
        const Vector high = block.whole(first + lanes) * scale[2 * c + 1] + offset[2 * c + 1];
        return _mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    }
    static Vector multiply_add(Vector sum, __m512bh weights, Input x) {
        return (Vector)_mm512_dpbf16_ps((__m512)sum, weights, (__m512bh)_mm512_set1_epi32(int(x)));
    }
};
using Weight = __m512bh;

const Input *inputs_of(const float *x, int64_t rows, int64_t n_in, float *memory) {
    auto *rounded = reinterpret_cast<Input *>(memory);
    round_rows(x, n_in, rows, n_in, rounded, n_in / 2);
    return rounded;
}

void multiply_unpacked(const Input *x, int64_t x_row, int64_t rows, const void *unpacked, int64_t inputs, float *y,
                       int64_t y_row, int64_t columns, bool add) {
    multiply_panel_of_pairs(x, x_row, rows, static_cast<const uint16_t *>(unpacked), inputs, y, y_row, columns, add);
}

#else

using Input = float;
constexpr int64_t inputs_together = 1;

struct Unpacked {
    Vector scale[panel_vectors], offset[panel_vectors];

    Unpacked() = default;
    explicit Unpacked(WholeBlock block) {
#pragma GCC unroll 3
        for (int c = 0; c < panel_vectors; ++c) {
            scale[c] = block.scale(c * lanes);
            offset[c] = block.offset(c * lanes);
        }
    }
    Vector weights(WholeBlock block, int64_t input, int c) const {
        return block.whole(input * panel + c * lanes) * scale[c] + offset[c];
    }
    static Vector multiply_add(Vector sum, Vector weights, Input x) { return sum + all<Vector>(x) * weights; }
};
using Weight = Vector;

const Input *inputs_of(const float *x, int64_t, int64_t, float *) { return x; }

void multiply_unpacked(const Input *x, int64_t x_row, int64_t rows, const void *unpacked, int64_t inputs, float *y,
                       int64_t y_row, int64_t columns, bool add) {
    multiply_panel<InCache>({x, x_row, unpacked, inputs}, rows, y, y_row, columns, add);
}

#endif

constexpr int64_t steps = block_inputs / inputs_together; // of a block

// `blocks` are n_blocks blocks of the first panel; the next panel's lie panel_bytes after them.
template <int rows, int panels>
void whole_tile(const Input *x, int64_t x_row, const char *blocks, int64_t panel_bytes, int64_t n_blocks, float *y,
                int64_t y_row, int64_t columns, bool add) {
    Vector sum[panels][rows][panel_vectors] = {};
    for (int64_t b = 0; b < n_blocks; ++b, blocks += block_bytes) {
        Unpacked unpacked[panels];
#pragma GCC unroll 2
        for (int p = 0; p < panels; ++p) unpacked[p] = Unpacked(WholeBlock{blocks + p * panel_bytes});
        for (int64_t i = 0; i < steps; ++i, ++x)
#pragma GCC unroll 2
            for (int p = 0; p < panels; ++p) {
                const WholeBlock block{blocks + p * panel_bytes};
                block.ask_ahead_of(
                    i, steps, panels > 1 ? panels * panel_bytes : bytes_ahead); // panels side by side: of the next ones
#pragma GCC unroll 3
                for (int c = 0; c < panel_vectors; ++c) {
                    const Weight w = unpacked[p].weights(block, i, c);
#pragma GCC unroll 4
                    for (int r = 0; r < rows; ++r) sum[p][r][c] = Unpacked::multiply_add(sum[p][r][c], w, x[r * x_row]);
                }
            }
    }
    for (int p = 0; p < panels; ++p) write_tile<rows>(sum[p], y + p * panel, y_row, columns - p * panel, add);
}

using WholeTile = void (*)(const Input *, int64_t, const char *, int64_t, int64_t, float *, int64_t, int64_t, bool);
constexpr WholeTile whole_tiles[] = {nullptr, whole_tile<1, 1>, whole_tile<2, 1>, whole_tile<3, 1>, whole_tile<4, 1>};

// Blocks of a panel, input after input.
void unpack(const char *blocks, int64_t n_blocks, void *panel_of_weights) {
    auto *out = static_cast<char *>(panel_of_weights);
    for (int64_t b = 0; b < n_blocks; ++b, blocks += block_bytes) {
        const WholeBlock block{blocks};
        const Unpacked unpacked(block);
        for (int64_t i = 0; i < steps; ++i) {
            block.ask_ahead_of(i, steps, bytes_ahead);
#pragma GCC unroll 3
            for (int c = 0; c < panel_vectors; ++c, out += sizeof(Weight)) {
                const Weight w = unpacked.weights(block, i, c);
                memcpy(out, &w, sizeof w);
            }
        }
    }
}

void multiply_whole(const Packed &m, const float *x, int64_t rows, float *y, int ith, int nth) {
    const Work work = work_of(m, rows, ith, nth);
    const int64_t n_blocks = m.n_in / block_inputs, panel_bytes = n_blocks * block_bytes,
                  x_row = m.n_in / inputs_together;
    float *weights = scratch(size_t(block_in * panel + block_rows * m.n_in)), *memory = weights + block_in * panel;
    for (int64_t row = work.rows.first; row < work.rows.last; row += block_rows) {
        const int64_t n_rows = least(block_rows, work.rows.last - row);
        const Input *inputs = inputs_of(x + row * m.n_in, n_rows, m.n_in, memory);
        for (int64_t p = work.panels.first; p < work.panels.last;) {
            const int n = n_rows == 1 && p + panels_of_row <= work.panels.last ? panels_of_row : 1;
            float *out = y + row * m.n_out + p * panel;
            for (int64_t b = 0; b < n_blocks; b += block_in / block_inputs) {
                const char *blocks = static_cast<const char *>(m.data) + p * panel_bytes + b * block_bytes;
                const int64_t part = least(block_in / block_inputs, n_blocks - b);
                const Input *of_part = inputs + b * steps;
                const int64_t columns = m.n_out - p * panel;
                if (n_rows <= few_rows) {
                    const WholeTile tile = n > 1 ? whole_tile<1, panels_of_row> : whole_tiles[n_rows];
                    tile(of_part, x_row, blocks, panel_bytes, part, out, m.n_out, columns, b > 0);
                } else {
                    unpack(blocks, part, weights);
                    multiply_unpacked(of_part, x_row, n_rows, weights, part * steps, out, m.n_out, columns, b > 0);
                }
            }
            p += n;
        }
    }
}

} // namespace

void multiply(const Packed &m, const float *x, int64_t rows, float *y, int ith, int nth) {
    if (m.weights == Weights::q8) return multiply_whole(m, x, rows, y, ith, nth);
#if defined(__AVX512BF16__)
    if (m.weights == Weights::bf16) return multiply_pairs(m, x, rows, y, ith, nth);
#endif
    multiply_floats(m, x, rows, y, ith, nth);
}

} // namespace ri::kernels::RI_SET
