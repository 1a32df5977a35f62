// Streams of bytes by gRPC's completion queues with nothing in the way: what the replay path is measured against.
//
// One thread on each side. Not thread-safe.
#ifndef HEADRACE_TOOLS_BENCH_RAW_STREAM_H_
#define HEADRACE_TOOLS_BENCH_RAW_STREAM_H_

#include <cstddef>
#include <memory>
#include <string>

namespace headrace {

// Serves until destroyed. A stream's first message says how long answers are: without length they are acknowledgements,
// one for every 64 messages or 256 KiB; otherwise each further message is answered by as many bytes.
class RawServer {
 public:
  RawServer();
  ~RawServer();
  const std::string& address() const;

 private:
  struct Implementation;
  const std::unique_ptr<Implementation> implementation_;
};

// Sends messages of that size, of which up to 4 MiB are not acknowledged.
class RawSender {
 public:
  RawSender(const std::string& address, size_t message_bytes);
  ~RawSender();
  // Messages a second.
  double Measure(double seconds);

 private:
  struct Implementation;
  const std::unique_ptr<Implementation> implementation_;
};

// Asks for answers of that size, so many at a time, and copies each into memory of its own.
class RawReceiver {
 public:
  RawReceiver(const std::string& address, size_t answer_bytes, int in_flight);
  ~RawReceiver();
  // Answers a second.
  double Measure(double seconds);

 private:
  struct Implementation;
  const std::unique_ptr<Implementation> implementation_;
};

}  // namespace headrace

#endif  // HEADRACE_TOOLS_BENCH_RAW_STREAM_H_
