"""Golden numbers for the LSTM: PyTorch's nn.LSTM in float64.

    python tests/golden/lstm.py > tests/golden/lstm.textproto

Two episodes of lane 0, of which the first ends with row 2, and one of lane 1, all unrolled by nn.LSTM one episode at a
time; then the derivatives of the sum of all outputs and last states, weighted with numbers that are given too.
"""

import torch
from tensors import put, put_header

LANES, ROWS, INPUTS, UNITS, END = 2, 7, 3, 4, 2

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def main() -> None:
    lstm = torch.nn.LSTM(INPUTS, UNITS, batch_first=True)
    x = torch.randn(LANES, ROWS, INPUTS)
    state = torch.randn(LANES, 2 * UNITS).requires_grad_()
    ends = torch.zeros(LANES, ROWS)
    ends[0, END] = 1

    def unroll(rows: torch.Tensor, before: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output, (h, c) = lstm(rows, (before[:UNITS].view(1, -1), before[UNITS:].view(1, -1)))
        return output, torch.cat([h, c], 1).squeeze(0)

    first, _ = unroll(x[0, : END + 1], state[0])
    second, last_0 = unroll(x[0, END + 1 :], torch.zeros(2 * UNITS))
    whole, last_1 = unroll(x[1], state[1])
    hidden = torch.stack([torch.cat([first, second]), whole])
    last = torch.stack([last_0, last_1])
    hidden_weight, last_weight = torch.randn_like(hidden), torch.randn_like(last)
    ((hidden * hidden_weight).sum() + (last * last_weight).sum()).backward()

    put_header("lstm.py")
    put("x", x)
    put("state", state)
    put("ends", ends)
    put("input/weight", lstm.weight_ih_l0)
    put("recurrent/weight", lstm.weight_hh_l0)
    put("bias", lstm.bias_ih_l0 + lstm.bias_hh_l0)
    put("hidden", hidden)
    put("last", last)
    put("hidden_weight", hidden_weight)
    put("last_weight", last_weight)
    put("gradient/input/weight", lstm.weight_ih_l0.grad)
    put("gradient/recurrent/weight", lstm.weight_hh_l0.grad)
    put("gradient/bias", lstm.bias_ih_l0.grad)
    put("gradient/state", state.grad)


if __name__ == "__main__":
    main()
