#include "tools/bench/raw_stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/grpc_server.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/server_builder.h"

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kWindowBytes = 4 << 20;
constexpr size_t kMostFrameBytes = 1 << 20;
constexpr uint64_t kAcknowledgedMessages = 64;
constexpr uint64_t kAcknowledgedBytes = 256 << 10;

grpc::ByteBuffer Filler(size_t bytes) {
  const grpc::Slice slice(std::string(bytes, 'x'));
  return grpc::ByteBuffer(&slice, 1);
}

grpc::ByteBuffer BufferOf(uint64_t number) {
  const grpc::Slice slice(&number, sizeof(number));
  return grpc::ByteBuffer(&slice, 1);
}

uint64_t NumberOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  uint64_t number = 0;
  // A number that arrives behind others may lie in two pieces.
  HEADRACE_CHECK(buffer.DumpToSingleSlice(&slice).ok() && slice.size() == sizeof(number));
  std::memcpy(&number, slice.begin(), sizeof(number));
  return number;
}

// A message of `bytes` as frames that share one slice.
std::vector<grpc::ByteBuffer> FramesOf(size_t bytes) {
  std::vector<grpc::ByteBuffer> frames;
  for (; bytes > kMostFrameBytes; bytes -= kMostFrameBytes) frames.push_back(Filler(kMostFrameBytes));
  frames.push_back(Filler(bytes));
  return frames;
}

// What a completed operation was, in its tag: the stream's address, and one of these in the lowest bits.
enum Operation : uintptr_t { kStart = 0, kRead = 1, kWrite = 2, kFinish = 3 };

void* Tag(void* stream, Operation operation) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(stream) | operation);
}

struct alignas(8) ServerCall {
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream{&context};
  grpc::ByteBuffer incoming;
  bool opened = false;
  std::vector<grpc::ByteBuffer> answer;  // empty: acknowledgements
  std::deque<grpc::ByteBuffer> outgoing;
  uint64_t messages = 0, bytes = 0, acknowledged = 0, acknowledged_bytes = 0;

  void Read() { stream.Read(&incoming, Tag(this, kRead)); }
  void Send(grpc::ByteBuffer message) {
    outgoing.push_back(std::move(message));
    if (outgoing.size() == 1) Write();
  }
  void Write() {
    grpc::WriteOptions options;
    if (outgoing.size() > 1) options.set_buffer_hint();
    stream.Write(outgoing.front(), options, Tag(this, kWrite));
  }
  void OnRead() {
    if (!opened) {
      opened = true;
      const uint64_t answer_bytes = NumberOf(incoming);
      if (answer_bytes > 0) answer = FramesOf(answer_bytes);
    } else if (answer.empty()) {
      ++messages;
      bytes += incoming.Length();
      if (messages - acknowledged >= kAcknowledgedMessages || bytes - acknowledged_bytes >= kAcknowledgedBytes) {
        acknowledged = messages;
        acknowledged_bytes = bytes;
        Send(BufferOf(messages));
      }
    } else {
      for (const grpc::ByteBuffer& frame : answer) Send(frame);
    }
    Read();
  }
};

// One stream of a client, driven by the thread that measures.
struct ClientCall {
  explicit ClientCall(const std::string& address, uint64_t answer_bytes) : channel(MakeChannel(address)) {
    stream = grpc::GenericStub(channel).PrepareCall(&context, "/raw.Raw/Stream", &queue);
    stream->StartCall(Tag(this, kStart));
    HEADRACE_CHECK(Next() == kStart);
    stream->Write(BufferOf(answer_bytes), Tag(this, kWrite));
    HEADRACE_CHECK(Next() == kWrite);
    Read();
  }
  ~ClientCall() {
    context.TryCancel();
    queue.Shutdown();
    void* tag;
    bool ok;
    while (queue.Next(&tag, &ok)) {
    }
  }
  void Read() { stream->Read(&incoming, Tag(this, kRead)); }
  Operation Next() {
    void* tag;
    bool ok = false;
    HEADRACE_CHECK(queue.Next(&tag, &ok) && ok);
    return static_cast<Operation>(reinterpret_cast<uintptr_t>(tag) & 7);
  }

  const std::shared_ptr<grpc::Channel> channel;
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
  grpc::ByteBuffer incoming;
};

double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

struct RawServer::Implementation {
  grpc::AsyncGenericService service;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::unique_ptr<grpc::Server> server;
  std::string address;
  std::thread thread;

  void Serve() {
    const auto expect = [this] {
      auto* const call = new ServerCall;
      service.RequestCall(&call->context, &call->stream, queue.get(), queue.get(), Tag(call, kStart));
    };
    expect();
    void* tag;
    bool ok;
    while (queue->Next(&tag, &ok)) {
      auto* const call = reinterpret_cast<ServerCall*>(reinterpret_cast<uintptr_t>(tag) & ~uintptr_t{7});
      const auto operation = static_cast<Operation>(reinterpret_cast<uintptr_t>(tag) & 7);
      if (!ok) continue;  // the client is gone; what the call holds goes with this process
      if (operation == kStart) {
        expect();
        call->Read();
      } else if (operation == kRead) {
        call->OnRead();
      } else if (operation == kWrite) {
        call->outgoing.pop_front();
        if (!call->outgoing.empty()) call->Write();
      }
    }
  }
};

RawServer::RawServer() : implementation_(std::make_unique<Implementation>()) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterAsyncGenericService(&implementation_->service);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // Our channels ping each ten seconds, for which the default cuts them off within a minute.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  implementation_->queue = builder.AddCompletionQueue();
  implementation_->server = builder.BuildAndStart();
  HEADRACE_CHECK(implementation_->server != nullptr);
  implementation_->address = absl::StrCat("127.0.0.1:", port);
  implementation_->thread = std::thread([this] { implementation_->Serve(); });
}

RawServer::~RawServer() {
  implementation_->server->Shutdown(std::chrono::system_clock::now());
  implementation_->queue->Shutdown();
  implementation_->thread.join();
}

const std::string& RawServer::address() const { return implementation_->address; }

struct RawSender::Implementation : ClientCall {
  Implementation(const std::string& address, size_t message_bytes)
      : ClientCall(address, 0), message(Filler(message_bytes)), message_bytes(message_bytes) {}

  // One at a time is on its way to gRPC; the window lies behind it.
  double Measure(double seconds) {
    const uint64_t window = std::max<uint64_t>(2 * kAcknowledgedMessages, kWindowBytes / message_bytes);
    const Clock::time_point begin = Clock::now();
    const uint64_t first = sent;
    bool writing = false;
    while (true) {
      if (!writing && sent - acknowledged < window && Since(begin) < seconds) {
        grpc::WriteOptions options;
        if ((sent + 1) % kAcknowledgedMessages != 0) options.set_buffer_hint();
        stream->Write(message, options, Tag(this, kWrite));
        ++sent;
        writing = true;
      }
      // The rest of a burst is acknowledged with the next one.
      if (!writing && Since(begin) >= seconds) break;
      if (Next() == kWrite) {
        writing = false;
      } else {
        acknowledged = NumberOf(incoming);
        Read();
      }
    }
    return static_cast<double>(sent - first) / Since(begin);
  }

  const grpc::ByteBuffer message;
  const size_t message_bytes;
  uint64_t sent = 0, acknowledged = 0;
};

RawSender::RawSender(const std::string& address, size_t message_bytes)
    : implementation_(std::make_unique<Implementation>(address, message_bytes)) {}
RawSender::~RawSender() = default;
double RawSender::Measure(double seconds) { return implementation_->Measure(seconds); }

struct RawReceiver::Implementation : ClientCall {
  Implementation(const std::string& address, size_t answer_bytes, int in_flight)
      : ClientCall(address, answer_bytes), memory(answer_bytes), in_flight(in_flight) {}

  double Measure(double seconds) {
    const Clock::time_point begin = Clock::now();
    uint64_t answers = 0;
    int asked = 0, waiting = in_flight;  // requests on their way, requests to be written
    bool writing = false;
    while (asked > 0 || waiting > 0 || writing) {
      if (!writing && waiting > 0) {
        stream->Write(BufferOf(uint64_t{1}), Tag(this, kWrite));
        writing = true;
        --waiting;
        ++asked;
      }
      if (Next() == kWrite) {
        writing = false;
        continue;
      }
      std::vector<grpc::Slice> slices;
      HEADRACE_CHECK(incoming.Dump(&slices).ok());
      for (const grpc::Slice& slice : slices) {
        std::memcpy(memory.data() + offset, slice.begin(), slice.size());
        offset += slice.size();
      }
      Read();
      if (offset < memory.size()) continue;
      offset = 0;
      ++answers;
      --asked;
      if (Since(begin) < seconds) ++waiting;
    }
    return static_cast<double>(answers) / Since(begin);
  }

  std::vector<std::byte> memory;
  const int in_flight;
  size_t offset = 0;
};

RawReceiver::RawReceiver(const std::string& address, size_t answer_bytes, int in_flight)
    : implementation_(std::make_unique<Implementation>(address, answer_bytes, in_flight)) {}
RawReceiver::~RawReceiver() = default;
double RawReceiver::Measure(double seconds) { return implementation_->Measure(seconds); }

}  // namespace headrace
