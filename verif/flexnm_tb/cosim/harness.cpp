// The Verilated linear engine behind a C interface: register accesses, and whole jobs with their three streams.
// Compiled with Vengine.h of the wrapper module and with ACT_BYTES, WEIGHT_BYTES and RESULT_BYTES, the bytes of a beat.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "Vengine.h"
#include "verilated.h"

namespace {

// Pauses of one stream end: a pause begins in a cycle with probability share/256.
struct Pauses {
    uint32_t share = 0;
    uint32_t state = 1;
    bool now() {
        if (!share) return false;
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        return (state >> 8 & 0xff) < share;
    }
};

struct Packet {
    const uint8_t* data;
    size_t left;
    bool with_last;
    bool offered = false;
};

struct Engine {
    VerilatedContext context;
    Vengine top{&context};
    uint64_t cycles = 0;

    void settle() { top.eval(); }
    void edge() {
        top.aclk = 1;
        top.eval();
        top.aclk = 0;
        ++cycles;
    }
};

// Little endian and at least as long as the port, whatever type Verilator chose.
template <typename Port>
void put(Port& port, const uint8_t* bytes, size_t count) {
    std::memcpy(static_cast<void*>(&port), bytes, count);
}

template <typename Port>
void get(uint8_t* bytes, const Port& port, size_t count) {
    std::memcpy(bytes, static_cast<const void*>(&port), count);
}

// Bytes of a last beat: tkeep is contiguous from bit 0.
template <typename Port>
size_t kept(const Port& keep) {
    uint8_t bits[(RESULT_BYTES + 7) / 8] = {};
    get(bits, keep, sizeof bits);
    size_t count = 0;
    while (count < RESULT_BYTES && (bits[count / 8] >> (count % 8) & 1)) ++count;
    return count;
}

template <typename Data>
void drive(Packet& packet, Pauses& pauses, size_t bytes, Data& tdata, CData& tvalid, CData& tlast) {
    if (packet.offered) return;
    if (packet.left && !pauses.now()) {
        put(tdata, packet.data, bytes);
        tvalid = 1;
        tlast = packet.with_last && packet.left == bytes;
        packet.offered = true;
    } else {
        tvalid = 0;
    }
}

void advance(Packet& packet, size_t bytes, bool ready) {
    if (!packet.offered || !ready) return;
    packet.data += bytes;
    packet.left -= bytes;
    packet.offered = false;
}

}  // namespace

extern "C" {

void flexnm_reset(void* handle, uint32_t cycles) {
    Engine& e = *static_cast<Engine*>(handle);
    e.top.aresetn = 0;
    e.top.s_axis_acts_tvalid = e.top.s_axis_weights_tvalid = 0;
    e.top.s_axi_awvalid = e.top.s_axi_wvalid = e.top.s_axi_arvalid = 0;
    e.top.s_axi_bready = e.top.s_axi_rready = e.top.m_axis_results_tready = 0;
    for (uint32_t i = 0; i < cycles; ++i) {
        e.settle();
        e.edge();
    }
    e.top.aresetn = 1;
    e.settle();
}

void* flexnm_new() {
    Engine* engine = new Engine;
    flexnm_reset(engine, 4);
    return engine;
}

void flexnm_free(void* handle) { delete static_cast<Engine*>(handle); }

uint64_t flexnm_cycles(void* handle) { return static_cast<Engine*>(handle)->cycles; }

// Writes a register; returns the AXI response.
uint32_t flexnm_write(void* handle, uint32_t address, uint32_t data, uint32_t strobes) {
    Engine& e = *static_cast<Engine*>(handle);
    e.top.s_axi_awaddr = address;
    e.top.s_axi_wdata = data;
    e.top.s_axi_wstrb = strobes;
    e.top.s_axi_awvalid = e.top.s_axi_wvalid = e.top.s_axi_bready = 1;
    e.settle();
    e.edge();  // the subordinate takes address and data at once when no response is pending
    e.top.s_axi_awvalid = e.top.s_axi_wvalid = 0;
    e.settle();
    const uint32_t response = e.top.s_axi_bresp;
    e.edge();
    e.top.s_axi_bready = 0;
    e.settle();
    return response;
}

// Reads a register; returns the AXI response.
uint32_t flexnm_read(void* handle, uint32_t address, uint32_t* data) {
    Engine& e = *static_cast<Engine*>(handle);
    e.top.s_axi_araddr = address;
    e.top.s_axi_arvalid = e.top.s_axi_rready = 1;
    e.settle();
    e.edge();
    e.top.s_axi_arvalid = 0;
    e.settle();
    *data = e.top.s_axi_rdata;
    const uint32_t response = e.top.s_axi_rresp;
    e.edge();
    e.top.s_axi_rready = 0;
    e.settle();
    return response;
}

// Streams of a job. Lengths are whole beats. share_*: pauses in 1/256. Returned by flexnm_run in the fields below.
struct Job {
    const uint8_t* acts;
    uint64_t act_bytes;
    const uint8_t* weights;
    uint64_t weight_bytes;
    uint8_t* results;
    uint64_t result_room;
    uint64_t patience;  // cycles without any transfer after which the job is given up
    uint32_t acts_without_last, weights_without_last;
    uint32_t share_acts, share_weights, share_results, seed;
    uint32_t linger;  // cycles to run after the last result, for what is left of packets that are too long
    uint64_t result_bytes, cycles, acts_left, weights_left;
    uint32_t finished, overrun;
};

void flexnm_run(void* handle, Job* job) {
    Engine& e = *static_cast<Engine*>(handle);
    Vengine& top = e.top;
    Packet acts{job->acts, job->act_bytes, !job->acts_without_last};
    Packet weights{job->weights, job->weight_bytes, !job->weights_without_last};
    Pauses pause_acts{job->share_acts, job->seed | 1}, pause_weights{job->share_weights, job->seed * 3 | 1};
    Pauses pause_results{job->share_results, job->seed * 5 | 1};
    const uint64_t start = e.cycles;
    uint64_t moved = e.cycles;
    uint64_t results = 0;
    job->finished = job->overrun = 0;
    uint32_t linger = job->linger;
    while (e.cycles - moved < job->patience) {
        drive(acts, pause_acts, ACT_BYTES, top.s_axis_acts_tdata, top.s_axis_acts_tvalid, top.s_axis_acts_tlast);
        drive(weights, pause_weights, WEIGHT_BYTES, top.s_axis_weights_tdata, top.s_axis_weights_tvalid,
              top.s_axis_weights_tlast);
        top.m_axis_results_tready = !job->finished && !pause_results.now();
        e.settle();
        const bool act_ready = top.s_axis_acts_tready, weight_ready = top.s_axis_weights_tready;
        if ((acts.offered && act_ready) || (weights.offered && weight_ready)) moved = e.cycles;
        if (top.m_axis_results_tvalid && top.m_axis_results_tready) {
            moved = e.cycles;
            const bool last = top.m_axis_results_tlast;
            const size_t count = last ? kept(top.m_axis_results_tkeep) : RESULT_BYTES;
            if (results + count <= job->result_room) {
                get(job->results + results, top.m_axis_results_tdata, count);
            } else {
                job->overrun = 1;
            }
            results += count;
            if (last) job->finished = 1;
        }
        e.edge();
        advance(acts, ACT_BYTES, act_ready);
        advance(weights, WEIGHT_BYTES, weight_ready);
        if (job->finished && linger-- == 0) break;
    }
    top.s_axis_acts_tvalid = top.s_axis_weights_tvalid = top.m_axis_results_tready = 0;
    e.settle();
    job->result_bytes = results;
    job->cycles = e.cycles - start;
    job->acts_left = acts.left;
    job->weights_left = weights.left;
}

// Only the clock, with one beat offered on each input all the time and every result taken: what the model itself
// costs, the measure for flexnm_run.
void flexnm_toggle(void* handle, const uint8_t* acts, const uint8_t* weights, uint64_t cycles) {
    Engine& e = *static_cast<Engine*>(handle);
    put(e.top.s_axis_acts_tdata, acts, ACT_BYTES);
    put(e.top.s_axis_weights_tdata, weights, WEIGHT_BYTES);
    e.top.s_axis_acts_tvalid = e.top.s_axis_weights_tvalid = e.top.m_axis_results_tready = 1;
    e.top.s_axis_acts_tlast = e.top.s_axis_weights_tlast = 0;
    for (uint64_t i = 0; i < cycles; ++i) {
        e.top.aclk = 0;
        e.top.eval();
        e.top.aclk = 1;
        e.top.eval();
    }
    e.top.aclk = 0;
    e.top.s_axis_acts_tvalid = e.top.s_axis_weights_tvalid = e.top.m_axis_results_tready = 0;
    e.settle();
    e.cycles += cycles;
}

}  // extern "C"
