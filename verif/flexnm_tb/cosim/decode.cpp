// Jobs of the decode engine: a packet of activations in, reads from a memory, a packet of results out.
// Also needs BUS_BYTES, the bytes of a beat of the memory bus.
#include <deque>

#include "harness.hpp"

namespace {

void silence(Vengine& top) { top.s_axis_acts_tvalid = top.m_axi_rvalid = top.m_axi_arready = 0; }

struct Burst {
    uint64_t address;
    uint32_t beats;
    uint64_t ready_at;  // cycle of its first beat at the earliest
};

}  // namespace

extern "C" {

// memory: bytes from address ``base`` on. error_from, error_to: addresses answered with an error.
// latency: cycles from a burst's acceptance to its first beat. most: bursts the memory holds at a time.
struct DecodeJob {
    const uint8_t* acts;
    uint64_t act_bytes;
    const uint8_t* memory;
    uint64_t memory_bytes, base;
    uint8_t* results;
    uint64_t result_room;
    uint64_t error_from, error_to;
    uint64_t patience;
    uint32_t latency, most;
    uint32_t share_acts, share_requests, share_data, share_results, seed;
    uint32_t acts_without_last, linger;
    uint64_t result_bytes, cycles, acts_left, bursts, beats, busy_beats;
    uint32_t finished, overrun, outside, crossed;
    uint32_t error_response;  // AXI response at those addresses: SLVERR 2, DECERR 3
    Disturbance* extra;       // or none; then a job ends as soon as the packet and all bursts were taken, linger or not
};

void flexnm_run(void* handle, DecodeJob* job) {
    Engine& e = *static_cast<Engine*>(handle);
    Vengine& top = e.top;
    Script script(job->extra, e.cycles);
    Watch<8> requests;
    Packet acts{job->acts, job->act_bytes, !job->acts_without_last, script.act_end()};
    Pauses pause_acts{job->share_acts, job->seed | 1}, pause_requests{job->share_requests, job->seed * 3 | 1};
    Pauses pause_data{job->share_data, job->seed * 5 | 1}, pause_results{job->share_results, job->seed * 7 | 1};
    Results results{job->results, job->result_room};
    std::deque<Burst> bursts;
    bool offered = false;
    uint64_t first_beat = 0, last_beat = 0;
    const uint64_t start = e.cycles;
    uint64_t moved = e.cycles, finish = e.cycles;
    uint32_t linger = job->linger;
    job->bursts = job->beats = job->outside = job->crossed = 0;
    while (e.cycles - moved < job->patience && !script.stops(e.cycles)) {
        script.drive(top, e.cycles);
        drive(acts, pause_acts, ACT_BYTES, top.s_axis_acts_tdata, top.s_axis_acts_tvalid, top.s_axis_acts_tlast);
        top.m_axi_arready = bursts.size() < job->most && !pause_requests.now();
        if (!offered && !bursts.empty() && e.cycles >= bursts.front().ready_at && !pause_data.now()) {
            const Burst& burst = bursts.front();
            const uint64_t at = burst.address - job->base;
            if (burst.address >= job->base && at + BUS_BYTES <= job->memory_bytes) {
                put(top.m_axi_rdata, job->memory + at, BUS_BYTES);
            } else {
                job->outside = 1;
            }
            top.m_axi_rresp = burst.address >= job->error_from && burst.address < job->error_to ? job->error_response : 0;
            top.m_axi_rlast = burst.beats == 1;
            offered = true;
        }
        top.m_axi_rvalid = offered;
        top.m_axis_results_tready = !results.finished && !script.holds() && !pause_results.now();
        e.settle();
        if (script.sample(top, e.cycles, results.finished)) moved = e.cycles;
        const uint64_t asked = top.m_axi_araddr;
        script.blame(requests.broken(top.m_axi_arvalid, top.m_axi_arready, reinterpret_cast<const uint8_t*>(&asked)));
        const bool act_ready = top.s_axis_acts_tready;
        if (acts.offered && act_ready) moved = e.cycles;
        if (top.m_axi_arvalid && top.m_axi_arready) {
            const uint64_t address = top.m_axi_araddr;
            const uint32_t beats = top.m_axi_arlen + 1u;
            const uint64_t behind = bursts.empty() ? 0 : bursts.back().ready_at;
            const uint64_t ready_at = e.cycles + job->latency;
            bursts.push_back({address, beats, ready_at > behind ? ready_at : behind});
            job->crossed |= (address & 4095) + uint64_t{beats} * BUS_BYTES > 4096;
            ++job->bursts;
            moved = e.cycles;
        }
        if (offered && top.m_axi_rready) {
            moved = last_beat = e.cycles;
            if (!job->beats) first_beat = e.cycles;
            ++job->beats;
            offered = false;
            bursts.front().address += BUS_BYTES;
            if (!--bursts.front().beats) bursts.pop_front();
        }
        if (top.m_axis_results_tvalid && top.m_axis_results_tready) {
            moved = finish = e.cycles;
            results.take(top);
        }
        e.edge();
        script.release(top);
        advance(acts, ACT_BYTES, act_ready);
        if (!results.finished || !script.over()) continue;
        if ((script && !acts.left && bursts.empty()) || linger-- == 0) break;
    }
    script.release(top, true);
    script.report(finish, bursts.size());
    silence(top);
    top.m_axis_results_tready = 0;
    e.settle();
    job->result_bytes = results.count;
    job->finished = results.finished;
    job->overrun = results.overrun;
    job->cycles = e.cycles - start;
    job->busy_beats = job->beats ? last_beat - first_beat + 1 : 0;
    job->acts_left = acts.left;
}

}  // extern "C"
