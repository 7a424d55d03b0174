// Functions of cells that Yosys's own models lack, or state at length: a techmap for flexnm_gen.fpga_map.

module LUT4(input A, B, C, D, output Z);
  parameter INIT = 16'h0;
  \$lut #(.WIDTH(4), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({D, C, B, A}), .Y(Z));
endmodule

// A bank of registers inside a block. They start from 0 and are never reset; not in use, they are not there.
module flexnm_bank(input clk, enable, input [WIDTH-1:0] d, output [WIDTH-1:0] q);
  parameter USED = 0;
  parameter WIDTH = 1;
  generate
    if (USED) begin
      reg [WIDTH-1:0] held = 0;
      always @(posedge clk) if (enable) held <= d;
      assign q = held;
    end else assign q = d;
  endgenerate
endmodule

// Lattice FPGA-TN-02205: operands of 18 bits, each signed or not; registers in front and behind as fpga_registers.py
// uses them, clocked by CLK0 and never reset.
module MULT18X18D(
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, CE1, CE2, RST0,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19, P20, P21, P22,
  P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  // The last character of "CE0", "CE1" or "CE2" is the number of the enable.
  wire [3:0] enables = {1'b0, CE2, CE1, CE0};
  wire [17:0] a, b;
  wire [35:0] p;
  flexnm_bank #(.USED(REG_INPUTA_CLK == "CLK0"), .WIDTH(18)) bank_a (
    .clk(CLK0), .enable(enables[REG_INPUTA_CE[1:0]]), .q(a), .d({
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
    })
  );
  flexnm_bank #(.USED(REG_INPUTB_CLK == "CLK0"), .WIDTH(18)) bank_b (
    .clk(CLK0), .enable(enables[REG_INPUTB_CE[1:0]]), .q(b), .d({
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
    })
  );
  wire signed [18:0] signed_a = {SIGNEDA & a[17], a};
  wire signed [18:0] signed_b = {SIGNEDB & b[17], b};
  wire signed [37:0] product = signed_a * signed_b;
  flexnm_bank #(.USED(REG_OUTPUT_CLK == "CLK0"), .WIDTH(36)) bank_p (
    .clk(CLK0), .enable(enables[REG_OUTPUT_CE[1:0]]), .q(p), .d(product[35:0])
  );
  assign {
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14,
    P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
  } = p;
endmodule

// Lattice FPGA-TN-02204, as far as Yosys uses it for a memory that starts from 0: port A writes, port B reads, both with
// DATA_WIDTH bits; at 36 through the data pins of both. Byte enables come in place of the lowest bits of the address.
module DP16KD(
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16,
  DIA17,
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA0, CSA1, CSA2,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16,
  DIB17,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB0, CSB1, CSB2,
  output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15,
  DOA16, DOA17,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15,
  DOB16, DOB17
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", GSR = "AUTO";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
  INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0,
  INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0,
  INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0,
  INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0,
  INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0,
  INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
  INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0,
  INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0,
  INITVAL_3E = 0, INITVAL_3F = 0;
  parameter _TECHMAP_CONSTMSK_WEB_ = 0, _TECHMAP_CONSTVAL_WEB_ = 0;
  parameter _TECHMAP_CONSTMSK_RSTB_ = 0, _TECHMAP_CONSTVAL_RSTB_ = 0;
  localparam WIDTH = DATA_WIDTH_A;
  wire _TECHMAP_FAIL_ = DATA_WIDTH_A != DATA_WIDTH_B || CLKAMUX != "CLKA" || CLKBMUX != "CLKB"
    || !_TECHMAP_CONSTMSK_WEB_ || _TECHMAP_CONSTVAL_WEB_ || !_TECHMAP_CONSTMSK_RSTB_ || _TECHMAP_CONSTVAL_RSTB_
    || |{
      INITVAL_00, INITVAL_01, INITVAL_02, INITVAL_03, INITVAL_04, INITVAL_05, INITVAL_06, INITVAL_07, INITVAL_08,
      INITVAL_09, INITVAL_0A, INITVAL_0B, INITVAL_0C, INITVAL_0D, INITVAL_0E, INITVAL_0F, INITVAL_10, INITVAL_11,
      INITVAL_12, INITVAL_13, INITVAL_14, INITVAL_15, INITVAL_16, INITVAL_17, INITVAL_18, INITVAL_19, INITVAL_1A,
      INITVAL_1B, INITVAL_1C, INITVAL_1D, INITVAL_1E, INITVAL_1F, INITVAL_20, INITVAL_21, INITVAL_22, INITVAL_23,
      INITVAL_24, INITVAL_25, INITVAL_26, INITVAL_27, INITVAL_28, INITVAL_29, INITVAL_2A, INITVAL_2B, INITVAL_2C,
      INITVAL_2D, INITVAL_2E, INITVAL_2F, INITVAL_30, INITVAL_31, INITVAL_32, INITVAL_33, INITVAL_34, INITVAL_35,
      INITVAL_36, INITVAL_37, INITVAL_38, INITVAL_39, INITVAL_3A, INITVAL_3B, INITVAL_3C, INITVAL_3D, INITVAL_3E,
      INITVAL_3F
    };

  wire [13:0] write_address = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
  };
  wire [13:0] read_address = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
  };
  wire [35:0] written = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
    DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
    DIA1, DIA0
  };
  localparam SHIFT = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2 : WIDTH == 2 ? 1 : 0;
  localparam BYTES = WIDTH == 36 ? 4 : WIDTH == 18 ? 2 : 1;
  localparam BYTE = WIDTH < 9 ? WIDTH : 9;
  wire [3:0] bytes = WIDTH < 18 ? 4'b1111 : write_address[3:0];
  wire [WIDTH-1:0] read;
  genvar k;
  generate
    for (k = 0; k < BYTES; k = k + 1) begin : lane
      reg [BYTE-1:0] store [0:(16384 >> SHIFT)-1];
      reg [BYTE-1:0] held = 0;
      integer word;
      initial for (word = 0; word < 16384 >> SHIFT; word = word + 1) store[word] = 0;
      always @(posedge CLKA) if (CEA & WEA & bytes[k]) store[write_address >> SHIFT] <= written[k * BYTE +: BYTE];
      always @(posedge CLKB) if (CEB) held <= store[read_address >> SHIFT];
      assign read[k * BYTE +: BYTE] = held;
    end
  endgenerate
  wire [WIDTH-1:0] shown;
  flexnm_bank #(.USED(REGMODE_B == "OUTREG"), .WIDTH(WIDTH)) bank_b (.clk(CLKB), .enable(OCEB), .d(read), .q(shown));
  wire [35:0] out = WIDTH == 36 ? shown : {shown, 18'd0};
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
    DOB0, DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
    DOA1, DOA0
  } = out;
endmodule
