#include "common/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/metrics_server.h"
#include "common/refusals.h"
#include "common/test_peer.h"
#include "common/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// `buffer_bytes`: what may wait to be read; 0: as much as the system likes.
int Connect(const std::string& address, int buffer_bytes = 0) {
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (buffer_bytes > 0) {
    EXPECT_EQ(::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes)), 0);
  }
  sockaddr_in server = {};
  server.sin_family = AF_INET;
  server.sin_port = htons(static_cast<uint16_t>(port));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&server), sizeof(server)), 0);
  return socket;
}

// What comes until the end.
std::string Rest(int socket) {
  std::string rest;
  char buffer[4096];
  for (ssize_t size; (size = ::recv(socket, buffer, sizeof(buffer), 0)) > 0;) rest.append(buffer, size);
  return rest;
}

// GET of a path from 127.0.0.1:PORT as an old and plain client does it; headers and body. `headers` end in CR LF.
std::string Get(const std::string& address, const std::string& path, const std::string& headers = "") {
  const int socket = Connect(address);
  const std::string request = "GET " + path + " HTTP/1.0\r\n" + headers + "\r\n";
  EXPECT_EQ(::send(socket, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  const std::string answer = Rest(socket);
  ::close(socket);
  return answer;
}

// The value in the line that begins with `series` and a space.
double ValueOf(const std::string& page, const std::string& series) {
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    double value;
    if (line.substr(0, series.size() + 1) == series + " " && absl::SimpleAtod(line.substr(series.size() + 1), &value)) {
      return value;
    }
  }
  ADD_FAILURE() << "no " << series << " in\n" << page;
  return 0;
}

TEST(MetricRegistryTest, AHistogramFamilyHasOneHistogramForEachLabel) {
  MetricRegistry registry("test");
  const HistogramFamily family = registry.AddHistogramFamily("headrace_test_seconds", "Time.", {"part"}, {1, 2});
  family.With({"queue"}).Observe(1.5);
  family.With({"reply"}).Observe(0.5);
  const std::string page = registry.Text();
  EXPECT_EQ(ValueOf(page, "headrace_test_seconds_bucket{part=\"queue\",le=\"1\"}"), 0);
  EXPECT_EQ(ValueOf(page, "headrace_test_seconds_bucket{part=\"queue\",le=\"2\"}"), 1);
  EXPECT_EQ(ValueOf(page, "headrace_test_seconds_bucket{part=\"reply\",le=\"1\"}"), 1);
}

TEST(MetricsServerTest, ServesWhatIsRegistered) {
  MetricRegistry registry("test");
  registry.AddCounter("headrace_test_steps_total", "Steps taken.").Increment(3);
  registry.AddGaugeFamily("headrace_test_depth_items", "Items waiting.", {"shard", "table"})
      .With({"0", "main"})
      .Set(2.5);
  absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT((*server)->address(), Not(HasSubstr(":0")));

  const std::string page = Get((*server)->address(), "/metrics");
  EXPECT_THAT(page, HasSubstr("200 OK"));
  EXPECT_THAT(page,
              HasSubstr("# HELP headrace_test_steps_total Steps taken.\n# TYPE headrace_test_steps_total counter\n"
                        "headrace_test_steps_total 3\n"));
  EXPECT_EQ(ValueOf(page, "headrace_test_depth_items{shard=\"0\",table=\"main\"}"), 2.5);
  EXPECT_EQ(ValueOf(page, std::string("headrace_build_info{revision=\"not known\",role=\"test\",version=\"") +
                              kVersion + "\"}"),
            1);
  EXPECT_GT(ValueOf(page, "process_resident_memory_bytes"), 100e3);
  EXPECT_GE(ValueOf(page, "process_cpu_seconds_total"), 0);
  EXPECT_GE(ValueOf(page, "process_open_fds"), 3);
  EXPECT_GT(ValueOf(page, "process_start_time_seconds"), 1.5e9);
}

TEST(MetricsServerTest, RefusesAPortInUseAndFreesItsOwn) {
  MetricRegistry registry("test");
  std::string address;
  {
    absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("localhost:0", registry);
    ASSERT_TRUE(server.ok()) << server.status();
    address = (*server)->address();
    EXPECT_THAT(address, HasSubstr("localhost:"));
    const absl::Status second = MetricsServer::Start(address, registry).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(second.message(), HasSubstr(address));
  }
  EXPECT_TRUE(MetricsServer::Start(address, registry).ok());
}

TEST(MetricsServerTest, HeadersThatAreTooLongGetNoMetrics) {
  MetricRegistry registry("test");
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(Get((*server)->address(), "/metrics", "X: " + std::string(4000, 'x') + "\r\n"), HasSubstr("200 OK"));
  EXPECT_THAT(Get((*server)->address(), "/metrics", "X: " + std::string(9000, 'x') + "\r\n"), Not(HasSubstr("200 OK")));
}

// The file descriptors of this process are both sides': its own, and what the server has let in.
TEST(MetricsServerTest, AFloodOfConnectionsIsNotTakenInAndPasses) {
  constexpr double kConnections = 200, kTakenIn = 48;
  MetricRegistry registry("test");
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(server.ok()) << server.status();
  const double before = ValueOf(registry.Text(), "process_open_fds");
  std::vector<int> flood;
  for (int i = 0; i < kConnections; ++i) flood.push_back(Connect((*server)->address()));
  // The last of them is hung up on when all have come.
  char byte;
  EXPECT_LE(::recv(flood.back(), &byte, 1, 0), 0);
  EXPECT_LE(ValueOf(registry.Text(), "process_open_fds"), before + kConnections + kTakenIn);
  // So are the others, when they have said nothing for long enough.
  EXPECT_LE(::recv(flood.front(), &byte, 1, 0), 0);
  for (const int socket : flood) ::close(socket);
  EXPECT_THAT(Get((*server)->address(), "/metrics"), HasSubstr("200 OK"));
}

// Four were once enough to make Prometheus wait, and twenty to make it give up. Half of them have begun to ask, and all
// have as much time as they like.
TEST(MetricsServerTest, WhoAsksNothingKeepsNobodyFromAsking) {
  constexpr std::chrono::hours kAnyTime{1};
  MetricRegistry registry("test");
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start(
      "127.0.0.1:0", registry,
      {.connections = {.total = 64, .per_host = 48, .first_bytes = kAnyTime}, .request = kAnyTime});
  ASSERT_TRUE(server.ok()) << server.status();
  std::vector<int> idle;
  for (int i = 0; i < 30; ++i) {
    idle.push_back(Connect((*server)->address()));
    if (i % 2 == 0) {
      EXPECT_EQ(::send(idle.back(), "GET /m", 6, 0), 6);
    }
  }
  EXPECT_THAT(Get((*server)->address(), "/metrics"), HasSubstr("200 OK"));
  for (const int socket : idle) ::close(socket);
}

TEST(MetricsServerTest, WhoAsksNothingIsHungUpOnAndCounted) {
  MetricRegistry registry("test");
  const RefusalCounters refusals(registry);
  for (const char* const begin : {"", "GET /m"}) {
    const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start(
        "127.0.0.1:0", registry,
        {.connections = {.total = 64, .per_host = 48, .first_bytes = std::chrono::hours(*begin == 0 ? 0 : 1)},
         .request = std::chrono::milliseconds(0)});
    ASSERT_TRUE(server.ok()) << server.status();
    const int socket = Connect((*server)->address());
    (void)::send(socket, begin, std::strlen(begin), MSG_NOSIGNAL);
    char byte;
    EXPECT_LE(::recv(socket, &byte, 1, 0), 0);
    ::close(socket);
  }
  EXPECT_EQ(ValueOf(registry.Text(), "headrace_grpc_refusals_total{reason=\"silence\"}"), 2);
}

TEST(MetricsServerTest, EndsWithQuestionsUnanswered) {
  MetricRegistry registry("test");
  absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(server.ok()) << server.status();
  const int socket = Connect((*server)->address());
  EXPECT_EQ(::send(socket, "GET /metrics", 12, 0), 12);
  server->reset();
  char byte;
  EXPECT_LE(::recv(socket, &byte, 1, 0), 0);
  ::close(socket);
}

TEST(MetricsServerTest, AnswersNothingElse) {
  MetricRegistry registry("test");
  const RefusalCounters refusals(registry);
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_THAT(Get((*server)->address(), "/"), AllOf(HasSubstr("404 Not Found"), HasSubstr("are at /metrics")));
  EXPECT_THAT(Get((*server)->address(), "/metricsandmore"), HasSubstr("404 Not Found"));
  const auto answer_to = [&](const std::string& method, const std::string& path) {
    const TestPeer peer((*server)->address());
    peer.Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: test\r\n\r\n"));
    return peer.Rest();
  };
  for (const char* const method : {"HEAD", "POST", "OPTIONS"}) {
    const std::string answer = answer_to(method, "/metrics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n")) << method;
    EXPECT_THAT(answer, EndsWith("\r\n\r\n")) << method;
    EXPECT_THAT(answer_to(method, "/"), StartsWith("HTTP/1.1 404 Not Found\r\n")) << method;
  }
  EXPECT_EQ(ValueOf(registry.Text(), "headrace_grpc_refusals_total{reason=\"handshake\"}"), 0);
}

// Of TLS, HTTP/2, SSH, and HTTP/1 without its version; none waits for its time to pass.
TEST(MetricsServerTest, HangsUpOnWhatIsNotHttpAndCountsIt) {
  constexpr std::chrono::hours kAnyTime{1};
  MetricRegistry registry("test");
  const RefusalCounters refusals(registry);
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start(
      "127.0.0.1:0", registry,
      {.connections = {.total = 64, .per_host = 48, .first_bytes = kAnyTime}, .request = kAnyTime});
  ASSERT_TRUE(server.ok()) << server.status();
  for (const std::string begin : {"\x16\x03\x01\x02", "PRI * HTTP/2.0\r\n", "SSH-2.0-client\r\n", "GET /metrics\r\n"}) {
    const TestPeer peer((*server)->address());
    peer.Send(begin);
    EXPECT_FALSE(peer.Answered()) << begin;
  }
  EXPECT_EQ(ValueOf(registry.Text(), "headrace_grpc_refusals_total{reason=\"handshake\"}"), 4);
}

TEST(MetricsServerTest, AQuestionMayComeInPieces) {
  MetricRegistry registry("test");
  const absl::StatusOr<std::unique_ptr<MetricsServer>> server =
      MetricsServer::Start("127.0.0.1:0", registry,
                           {.connections = {.total = 64, .per_host = 48, .first_bytes = std::chrono::hours(1)},
                            .request = std::chrono::hours(1)});
  ASSERT_TRUE(server.ok()) << server.status();
  const TestPeer pieces((*server)->address());
  for (const char* const piece : {"GET /metr", "ics HTTP/1.1\r\n\r", "\n"}) pieces.Send(piece);
  EXPECT_THAT(pieces.Rest(), StartsWith("HTTP/1.1 200 OK\r\n"));
  const TestPeer bytes((*server)->address());
  for (const char byte : std::string("GET /metrics HTTP/1.1\r\n\r\n")) bytes.Send({&byte, 1});
  EXPECT_THAT(bytes.Rest(), StartsWith("HTTP/1.1 200 OK\r\n"));
}

// Of 16 MB, which are not sent at once: a socket takes 4, and here its reader no more than one.
class LargePageTest : public ::testing::Test {
 protected:
  static constexpr size_t kLabels = 16, kLabelBytes = 1 << 20;

  void SetUp() override {
    const GaugeFamily family = registry_.AddGaugeFamily("headrace_test_items", "Test.", {"name"});
    for (size_t i = 0; i < kLabels; ++i) family.With({std::string(kLabelBytes, static_cast<char>('a' + i))}).Set(1);
    absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start("127.0.0.1:0", registry_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    socket_ = Connect(server_->address(), /*buffer_bytes=*/1 << 19);
    const absl::string_view request = "GET /metrics HTTP/1.1\r\n\r\n";
    ASSERT_EQ(::send(socket_, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char byte;
    ASSERT_EQ(::recv(socket_, &byte, 1, MSG_PEEK), 1);  // the answer has begun
  }
  void TearDown() override { ::close(socket_); }

  MetricRegistry registry_{"test"};
  std::unique_ptr<MetricsServer> server_;
  int socket_ = -1;
};

TEST_F(LargePageTest, ArrivesWhole) {
  const std::string answer = Rest(socket_);
  const size_t body = answer.find("\r\n\r\n") + 4;
  EXPECT_GT(answer.size(), kLabels * kLabelBytes);
  EXPECT_TRUE(answer.find(absl::StrCat("\r\nContent-Length: ", answer.size() - body, "\r\n")) < body);
  for (size_t i = 0; i < kLabels; ++i) {
    const std::string label(kLabelBytes, static_cast<char>('a' + i));
    EXPECT_TRUE(answer.find(absl::StrCat("{name=\"", label, "\"} 1\n")) != answer.npos) << i;
  }
}

TEST_F(LargePageTest, TheServerMayEndMeanwhile) {
  server_.reset();
  EXPECT_LT(Rest(socket_).size(), kLabels * kLabelBytes);
}

TEST(MetricsServerTest, RefusesAddressesOfAnotherForm) {
  MetricRegistry registry("test");
  for (const char* address : {"", "localhost", ":80", "localhost:", "localhost:http", "localhost:70000"}) {
    const absl::Status status = MetricsServer::Start(address, registry).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(status.message(), HasSubstr("expected HOST:PORT")) << address;
  }
  EXPECT_EQ(MetricsServer::Start("192.0.2.1:0", registry).status().code(), absl::StatusCode::kUnavailable);
}

// An episode return of 0 before the first episode has ended is what a good policy may get.
TEST(MetricsTest, AGaugeOfWhichNothingIsKnownYetIsNotANumber) {
  MetricRegistry registry("test");
  prometheus::Gauge& episode_return = registry.AddGauge("headrace_test_return", "Test.", kNotKnownYet);
  EXPECT_TRUE(std::isnan(ValueOf(registry.Text(), "headrace_test_return")));
  episode_return.Set(-3);
  EXPECT_EQ(ValueOf(registry.Text(), "headrace_test_return"), -3);
}

TEST(MetricsTest, CountsHistogramsByUpperBounds) {
  MetricRegistry registry("test");
  prometheus::Histogram& latency = registry.AddHistogram("headrace_test_latency_seconds", "Latency.", {1, 2});
  for (const double value : {0.5, 1.0, 1.5, 9.0}) latency.Observe(value);
  const std::string page = registry.Text();
  EXPECT_EQ(ValueOf(page, "headrace_test_latency_seconds_bucket{le=\"1\"}"), 2);  // 0.5, 1
  EXPECT_EQ(ValueOf(page, "headrace_test_latency_seconds_bucket{le=\"2\"}"), 3);  // and 1.5
  EXPECT_EQ(ValueOf(page, "headrace_test_latency_seconds_bucket{le=\"+Inf\"}"), 4);
  EXPECT_EQ(ValueOf(page, "headrace_test_latency_seconds_sum"), 12);
}

TEST(MetricsTest, GivesTheSameMetricForTheSameLabels) {
  MetricRegistry registry("test");
  const CounterFamily family = registry.AddCounterFamily("headrace_test_total", "Test.", {"actor"});
  EXPECT_EQ(&family.With({"1"}), &family.With({"1"}));
  EXPECT_NE(&family.With({"1"}), &family.With({"2"}));
}

TEST(MetricsTest, TakesRemovedGaugesOffThePage) {
  MetricRegistry registry("test");
  const GaugeFamily family = registry.AddGaugeFamily("headrace_test_version", "Test.", {"actor"});
  family.With({"1"}).Set(1);
  family.Remove(family.With({"2"}));
  EXPECT_THAT(registry.Text(), HasSubstr("actor=\"1\""));
  EXPECT_THAT(registry.Text(), Not(HasSubstr("actor=\"2\"")));
}

TEST(MetricsTest, LosesNoIncrementOfSeveralThreads) {
  MetricRegistry registry("test");
  prometheus::Counter& counter = registry.AddCounter("headrace_test_total", "Test.");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&counter] {
      for (int i = 0; i < 10000; ++i) counter.Increment();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), 40000);
}

TEST(MetricsDeathTest, EndsTheProcessForNamesThatBreakTheRules) {
  MetricRegistry registry("test");
  registry.AddGauge("headrace_test_items", "Test.");
  EXPECT_DEATH(registry.AddGauge("headrace_test_items", "Test."), "check failed");
  EXPECT_DEATH(registry.AddCounter("headrace_test_count", "Test."), "_total");
  EXPECT_DEATH(registry.AddGauge("headrace_test_total", "Test."), "_total");
  EXPECT_DEATH(registry.AddGauge("steps", "Test."), "headrace_");
  EXPECT_DEATH(registry.AddGauge("headrace_test", ""), "help");
}

TEST(BucketsTest, CoverTenMicrosecondsToAMinute) {
  const std::vector<double> buckets = LatencyBuckets();
  EXPECT_EQ(buckets.size(), 21u);  // 6 decades of 3, and three more
  EXPECT_EQ(buckets.front(), 0.00001);
  EXPECT_EQ(buckets[12], 0.1);
  EXPECT_EQ(buckets[18], 10);
  EXPECT_EQ(buckets.back(), 60);
}

}  // namespace
}  // namespace headrace
