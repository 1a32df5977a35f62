// XXH3-64 checksums of files and payloads: against broken disks and truncated copies, not against malice.
//
//   if (Checksum(bytes) != entry.xxh3()) ...
//   Checksummer sum;  // or piece by piece
//   sum.Update(header); sum.Update(payload); sum.value();
//
// Checksum is thread-safe; a Checksummer belongs to one thread.
#ifndef HEADRACE_COMMON_CHECKSUM_H_
#define HEADRACE_COMMON_CHECKSUM_H_

#include <cstdint>
#include <memory>
#include <string_view>

namespace headrace {

uint64_t Checksum(std::string_view bytes);

class Checksummer {
 public:
  Checksummer();
  ~Checksummer();

  void Update(std::string_view bytes);
  // Of everything so far; equal to Checksum of the pieces in one.
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CHECKSUM_H_
