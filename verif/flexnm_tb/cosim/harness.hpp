// What is common to the Verilated engines behind a C interface: clock, reset, register accesses, stream ends.
// Compiled with Vengine.h of a wrapper module and with ACT_BYTES and RESULT_BYTES, the bytes of a beat.
#pragma once
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

// end: bytes up to a beat that has TLAST too early; 0: there is none.
struct Packet {
    const uint8_t* data;
    size_t left;
    bool with_last;
    size_t end = 0;
    size_t sent = 0;
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
        tlast = (packet.with_last && packet.left == bytes) || packet.sent + bytes == packet.end;
        packet.offered = true;
    } else {
        tvalid = 0;
        tlast = pauses.state >> 16 & 1;  // means nothing without tvalid
    }
}

void advance(Packet& packet, size_t bytes, bool ready) {
    if (!packet.offered || !ready) return;
    packet.data += bytes;
    packet.left -= bytes;
    packet.sent += bytes;
    packet.offered = false;
}

// An output that must stay as it is until it is taken.
template <size_t Bytes>
struct Watch {
    bool waiting = false;
    uint8_t held[Bytes] = {};
    // Whether the rule is broken in this cycle. payload: Bytes bytes.
    bool broken(bool valid, bool ready, const uint8_t* payload) {
        const bool wrong = waiting && (!valid || std::memcmp(held, payload, Bytes));
        waiting = valid && !ready;
        if (waiting) std::memcpy(held, payload, Bytes);
        return wrong;
    }
};

// Withdraws what the harness drives and only one of the engines has; defined beside its jobs.
void silence(Vengine& top);

// Takes a result beat that is offered and accepted: its bytes to ``results`` if there is room.
struct Results {
    uint8_t* data;
    uint64_t room;
    uint64_t count = 0;
    bool finished = false, overrun = false;
    void take(const Vengine& top) {
        const bool last = top.m_axis_results_tlast;
        const size_t bytes = last ? kept(top.m_axis_results_tkeep) : RESULT_BYTES;
        if (count + bytes <= room) {
            get(data + count, top.m_axis_results_tdata, bytes);
        } else {
            overrun = true;
        }
        count += bytes;
        finished = finished || last;
    }
};

}  // namespace

#include "script.hpp"

extern "C" {

void flexnm_reset(void* handle, uint32_t cycles) {
    Engine& e = *static_cast<Engine*>(handle);
    e.top.aresetn = 0;
    silence(e.top);
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

}  // extern "C"
