// Jobs of the linear engine: two packets in, one out. Also needs WEIGHT_BYTES.
#include "harness.hpp"

namespace {
void silence(Vengine& top) { top.s_axis_acts_tvalid = top.s_axis_weights_tvalid = 0; }
}  // namespace

extern "C" {

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
    Disturbance* extra;  // or none; then a job ends as soon as both packets were taken, linger or not
};

void flexnm_run(void* handle, Job* job) {
    Engine& e = *static_cast<Engine*>(handle);
    Vengine& top = e.top;
    Script script(job->extra, e.cycles);
    Packet acts{job->acts, job->act_bytes, !job->acts_without_last, script.act_end()};
    Packet weights{job->weights, job->weight_bytes, !job->weights_without_last, script.weight_end()};
    Pauses pause_acts{job->share_acts, job->seed | 1}, pause_weights{job->share_weights, job->seed * 3 | 1};
    Pauses pause_results{job->share_results, job->seed * 5 | 1};
    const uint64_t start = e.cycles;
    uint64_t moved = e.cycles, finish = e.cycles;
    Results results{job->results, job->result_room};
    uint32_t linger = job->linger;
    while (e.cycles - moved < job->patience && !script.stops(e.cycles)) {
        script.drive(top, e.cycles);
        drive(acts, pause_acts, ACT_BYTES, top.s_axis_acts_tdata, top.s_axis_acts_tvalid, top.s_axis_acts_tlast);
        drive(weights, pause_weights, WEIGHT_BYTES, top.s_axis_weights_tdata, top.s_axis_weights_tvalid,
              top.s_axis_weights_tlast);
        top.m_axis_results_tready = !results.finished && !script.holds() && !pause_results.now();
        e.settle();
        if (script.sample(top, e.cycles, results.finished)) moved = e.cycles;
        const bool act_ready = top.s_axis_acts_tready, weight_ready = top.s_axis_weights_tready;
        if ((acts.offered && act_ready) || (weights.offered && weight_ready)) moved = e.cycles;
        if (top.m_axis_results_tvalid && top.m_axis_results_tready) {
            moved = finish = e.cycles;
            results.take(top);
        }
        e.edge();
        script.release(top);
        advance(acts, ACT_BYTES, act_ready);
        advance(weights, WEIGHT_BYTES, weight_ready);
        if (!results.finished || !script.over()) continue;
        if ((script && !acts.left && !weights.left) || linger-- == 0) break;
    }
    script.release(top, true);
    script.report(finish, 0);
    top.s_axis_acts_tvalid = top.s_axis_weights_tvalid = top.m_axis_results_tready = 0;
    e.settle();
    job->result_bytes = results.count;
    job->finished = results.finished;
    job->overrun = results.overrun;
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
