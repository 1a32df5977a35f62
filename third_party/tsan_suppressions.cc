// Debian's and LibTorch's libraries are not instrumented for thread sanitizer, which therefore sees races in them that
// are none.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
extern "C" const char* __tsan_default_suppressions() {
  return "race:libgrpc\nrace:libgpr\nrace:libabsl\nrace:libtorch\n";
}
#endif
#endif
