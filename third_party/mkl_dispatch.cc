// MKL, inside LibTorch, asks this function whether it may take its fast code paths, and by default answers no on
// processors of other makers than Intel, although they run them at full speed: float32 products take twice the time.
// The executable's definition comes first in symbol lookup (the build exports it), so MKL finds this one.
extern "C" __attribute__((visibility("default"), used)) int mkl_serv_intel_cpu_true() { return 1; }
