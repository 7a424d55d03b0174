// Register accesses beside the streams of a job, and other things that disturb it. Part of harness.hpp.
#pragma once

extern "C" {

// A register access. It begins ``at`` cycles after the script or later, when the one before it was answered; address,
// data and readiness for the response come so many cycles after that.
struct Access {
    uint64_t at;
    uint32_t write, address, data, strobes;
    uint32_t wait_address, wait_data, wait_response;
    uint32_t response;  // result: AXI response, NO_ANSWER if there was none
    uint64_t done;      // result: cycle of the response, from the begin of the script
};

struct Disturbance {
    Access* accesses;
    uint64_t count;
    uint64_t stop;                 // cycles after which everything ends, whatever is under way; 0: never
    uint64_t act_end, weight_end;  // see Packet
    uint32_t hold;                 // no result is taken until the last access was answered
    uint32_t broken;               // result: outputs that changed or vanished before they were taken, or came too late
    uint64_t finish;               // result: cycles until the last result
    uint64_t bursts_left;          // result: bursts whose data nobody took
};

}  // extern "C"

namespace {

constexpr uint32_t NO_ANSWER = 4;

// Plays the accesses of a disturbance, one after the other, and watches the outputs. Without one it does nothing.
class Script {
  public:
    Script(Disturbance* plan, uint64_t start) : plan_(plan), start_(start), begin_(start) {
        if (plan_) plan_->broken = plan_->finish = plan_->bursts_left = 0;
    }
    bool over() const { return !plan_ || index_ == plan_->count; }
    bool holds() const { return plan_ && plan_->hold && !over(); }
    bool stops(uint64_t now) const { return plan_ && plan_->stop && now - start_ >= plan_->stop; }
    size_t act_end() const { return plan_ ? plan_->act_end : 0; }
    size_t weight_end() const { return plan_ ? plan_->weight_end : 0; }
    explicit operator bool() const { return plan_; }

    void drive(Vengine& top, uint64_t now) {
        if (over()) return;
        const Access& access = plan_->accesses[index_];
        const bool begun = now - start_ >= access.at;
        if (!begun) begin_ = now + 1;
        const uint64_t since = begun ? now - begin_ : 0;
        const bool address = begun && !address_taken_ && since >= access.wait_address;
        top.s_axi_awvalid = access.write && address;
        top.s_axi_arvalid = !access.write && address;
        top.s_axi_wvalid = access.write && begun && !data_taken_ && since >= access.wait_data;
        top.s_axi_awaddr = top.s_axi_araddr = access.address;
        top.s_axi_wdata = access.data;
        top.s_axi_wstrb = access.strobes;
        top.s_axi_bready = access.write && begun && since >= access.wait_response;
        top.s_axi_rready = !access.write && begun && since >= access.wait_response;
    }

    // After settling, before the edge. finished: the last result was taken. Whether an access was answered.
    bool sample(Vengine& top, uint64_t now, bool finished) {
        if (!plan_) return false;
        watch(top, finished);
        if (over()) return false;
        Access& access = plan_->accesses[index_];
        address_taken_ |= (top.s_axi_awvalid && top.s_axi_awready) || (top.s_axi_arvalid && top.s_axi_arready);
        data_taken_ |= top.s_axi_wvalid && top.s_axi_wready;
        const bool written = top.s_axi_bvalid && top.s_axi_bready, read = top.s_axi_rvalid && top.s_axi_rready;
        if (!written && !read) return false;
        access.response = written ? top.s_axi_bresp : top.s_axi_rresp;
        if (read) access.data = top.s_axi_rdata;
        access.done = now - start_;
        address_taken_ = data_taken_ = false;
        ++index_;
        begin_ = now + 1;
        if (over()) release_ = true;
        return true;
    }

    // After the edge: the last response was taken.
    void release(Vengine& top, bool always = false) {
        if (!release_ && !always) return;
        top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_arvalid = top.s_axi_bready = top.s_axi_rready = 0;
        release_ = false;
    }

    void report(uint64_t finish, uint64_t bursts_left) {
        if (!plan_) return;
        plan_->finish = finish - start_;
        plan_->bursts_left = bursts_left;
    }

    // For a channel that only one of the engines has.
    void blame(bool broken) { if (plan_) plan_->broken += broken; }

  private:
    void watch(const Vengine& top, bool finished) {
        uint8_t beat[RESULT_BYTES + 1], read[5], written[1] = {static_cast<uint8_t>(top.s_axi_bresp)};
        get(beat, top.m_axis_results_tdata, RESULT_BYTES);
        beat[RESULT_BYTES] = top.m_axis_results_tlast;
        get(read, top.s_axi_rdata, 4);
        read[4] = top.s_axi_rresp;
        blame(results_.broken(top.m_axis_results_tvalid, top.m_axis_results_tready, beat));
        blame(finished && top.m_axis_results_tvalid);
        blame(reads_.broken(top.s_axi_rvalid, top.s_axi_rready, read));
        blame(writes_.broken(top.s_axi_bvalid, top.s_axi_bready, written));
    }

    Disturbance* plan_;
    uint64_t start_, begin_;
    size_t index_ = 0;
    bool address_taken_ = false, data_taken_ = false, release_ = false;
    Watch<RESULT_BYTES + 1> results_;
    Watch<5> reads_;
    Watch<1> writes_;
};

}  // namespace

extern "C" {

// Only the accesses; the streams stand still. An access without an answer after ``patience`` cycles keeps NO_ANSWER.
void flexnm_script(void* handle, Disturbance* plan, uint64_t patience) {
    Engine& e = *static_cast<Engine*>(handle);
    Script script(plan, e.cycles);
    uint64_t moved = e.cycles;
    while (!script.over() && !script.stops(e.cycles) && e.cycles - moved < patience) {
        script.drive(e.top, e.cycles);
        e.settle();
        if (script.sample(e.top, e.cycles, true)) moved = e.cycles;
        e.edge();
        script.release(e.top);
    }
    script.release(e.top, true);
    e.settle();
}

}  // extern "C"
