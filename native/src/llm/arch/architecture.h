// What an architecture of LLMs is: data from which loading, checks, the forward and the backward
// pass, rotation, memory estimates and the writing of files derive. Each one has a file in this
// folder and a line in architectures.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ri {

class Gguf;
struct LlmShape;

enum class RopePairs { neighbours, halves }; // which two numbers of a head turn together
enum class Activation { silu, gelu_tanh };   // of the gate of the feed-forward layer

struct Architecture {
    const char *name;
    RopePairs rope_pairs = RopePairs::neighbours;
    Activation activation = Activation::silu;
    bool qkv_biases = false;       // queries, keys and values have biases
    bool fused_qkv = false;        // new files hold queries, keys and values in one matrix; either form is read
    bool fused_gate_up = false;    // gate and up projection are one matrix
    bool long_rope = false;        // RoPE scaling of type longrope is read: factors for short and for long contexts
    bool yarn = false;             // and of type yarn
    bool head_norms = false;       // each head of queries and keys is normalised before it is rotated
    bool post_norms = false;       // what attention and feed-forward layer give is normalised before it is added
    bool square_attention = false; // the heads together are as wide as an embedding
    // A token's row of the embedding table is multiplied by the square root of its width. Soft
    // tokens and the rows that ri_gguf_embed gives are what comes out.
    bool scales_tokens = false;
    // Metadata keys, below the architecture's name, that `read` understands beside those that all
    // architectures have.
    std::vector<std::string> keys;
    // Puts what these keys say into the shape; throws RI_UNSUPPORTED for a value that cannot be
    // run. Null: nothing.
    void (*read)(const Gguf &, LlmShape &) = nullptr;
};

// All architectures through which adapters can be trained, one after the other; the last pointer is
// null.
extern const Architecture *const architectures[];

// The architecture of that name, or null.
const Architecture *find_architecture(const char *name);
// Their names, as a list for messages.
std::string architecture_names();

} // namespace ri
