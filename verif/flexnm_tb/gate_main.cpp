// Runs the bench of flexnm_tb.gate_sim and writes SAIF of the cycles that it measures: one sample a cycle, settled.
#include "Vbench.h"
#include "verilated.h"
#include "verilated_saif_c.h"

int main() {
    VerilatedContext context;
    context.traceEverOn(true);
    Vbench bench{&context};
    VerilatedSaifC saif;
    bench.trace(&saif, 99);
    uint64_t cycle = 0;
    while (!context.gotFinish()) {
        bench.clk = 0;
        bench.eval();
        bench.clk = 1;
        bench.eval();
        if (!bench.measuring) continue;
        if (!saif.isOpen()) saif.open("activity.saif");
        saif.dump(cycle++);
    }
    saif.close();
    return 0;
}
