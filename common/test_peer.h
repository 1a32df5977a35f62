// A peer for tests of what listens: a TCP connection of which every byte is the test's.
//
//   TestPeer peer(server->address());
//   peer.Send(Http2Call("/headrace.v1.Replay/Insert"));
//
// Not thread-safe.
#ifndef HEADRACE_COMMON_TEST_PEER_H_
#define HEADRACE_COMMON_TEST_PEER_H_

#include <string>
#include <string_view>

namespace headrace {

class TestPeer {
 public:
  // `address` is HOST:PORT, where a HOST that is no number stands for 127.0.0.1; `from` another address of this
  // machine.
  explicit TestPeer(const std::string& address, const char* from = "127.0.0.1");
  // Hangs up.
  ~TestPeer();
  TestPeer(const TestPeer&) = delete;
  TestPeer& operator=(const TestPeer&) = delete;

  // In a packet of its own.
  void Send(std::string_view bytes) const;
  // Has no more to say, and still listens.
  void Finish() const;
  // Whether a byte comes, and not the end first. Waits for either.
  bool Answered() const;
  // What comes until the end.
  std::string Rest() const;

 private:
  const int socket_;
};

// What an HTTP/2 connection begins with.
std::string Http2Opening();
// The same, and the headers of a call of gRPC, on stream 1; no message.
std::string Http2Call(const std::string& path);

}  // namespace headrace

#endif  // HEADRACE_COMMON_TEST_PEER_H_
