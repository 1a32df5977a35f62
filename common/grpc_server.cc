#include "common/grpc_server.h"

#include <malloc.h>

#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/reflection.h"
#include "common/status_macros.h"
#include "common/unreadable_request.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server_builder.h"

namespace headrace {
namespace {

constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// Without it a side that has nothing to say pings twice and then never again, and an idle stream whose peer is gone
// stays open for ever.
constexpr int kAnyNumberOfPings = 0;
// Of one connection at a time, which with the size of a message bounds what a client can make a server hold; ours use a
// handful.
constexpr int kMaxStreamsPerConnection = 64;
// Of a group of hosts; each runs an ordinary call. More of them at a time, which nobody has, are RESOURCE_EXHAUSTED.
constexpr int kMaxThreads = 16;
constexpr int kMaxHeaderBytes = 4 << 10;
// Above kMaxMessageBytes, so that a stream can say itself what is too large for it.
constexpr int kMostMessageBytes = 2 * kMaxMessageBytes;
constexpr int kMaxHealthMessageBytes = 4 << 10;
// A probe is over in a moment; whoever stays longer keeps others from asking.
constexpr int kHealthIdleMs = 10'000;
constexpr int kHealthAgeMs = 60'000;
constexpr int kHealthGraceMs = 5'000;
constexpr ConnectionLimits kHealthConnections = {.total = 64, .per_host = 16};
constexpr size_t kHealthBufferBytes = 16 << 20;

absl::Status NoServer(const std::string& listen) {
  return absl::InternalError(absl::StrCat("gRPC starts no server on ", listen));
}

// For the connections that the acceptor is given which it adds. Null: gRPC starts none, for a reason that it does not
// tell.
std::unique_ptr<grpc::Server> BuildServer(const Security& security, std::chrono::milliseconds handshake,
                                          size_t buffer_bytes, grpc::ServerBuilder& builder,
                                          std::vector<std::unique_ptr<ConnectionGate::Acceptor>>& acceptors) {
  using Experimental = grpc::ServerBuilder::experimental_type;
  acceptors.push_back(builder.experimental().AddExternalConnectionAcceptor(
      Experimental::ExternalConnectionType::FROM_FD, security.ForServer()));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, static_cast<int>(handshake.count()));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxHeaderBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("server").Resize(buffer_bytes).SetMaxThreads(kMaxThreads));
  return builder.BuildAndStart();
}

// What is encrypted, gRPC judges.
std::string_view OpeningOf(const Security& security) {
  return security.encrypts() ? ConnectionGate::kAnything : ConnectionGate::kHttp2;
}

void ConfigureCalls(const std::vector<grpc::Service*>& services, const RpcMetrics* metrics,
                    grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMostMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, kAnyNumberOfPings);
  // Clients ping as often as the server does; the default would cut them off for it.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 2);
  for (grpc::Service* service : services) builder.RegisterService(service);
  builder.SetOption(ReflectionOption());
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(ExplainUnreadableRequests());
  if (metrics != nullptr) interceptors.push_back(metrics->Factory());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& listen,
                                                              const std::vector<grpc::Service*>& services,
                                                              const RpcMetrics* metrics, const Security& security,
                                                              const ServerLimits& limits) {
  RETURN_IF_ERROR(security.CheckMayListen(listen));
  ASSIGN_OR_RETURN(std::unique_ptr<ConnectionGate> gate, ConnectionGate::Listen(listen, limits.connections));
  std::vector<std::unique_ptr<grpc::Server>> servers;
  const auto add = [&](const ServerLimits::Groups& groups,
                       std::vector<std::unique_ptr<ConnectionGate::Acceptor>>& acceptors) {
    for (size_t i = 0; i < groups.number; ++i) {
      grpc::ServerBuilder builder;
      ConfigureCalls(services, metrics, builder);
      servers.push_back(BuildServer(security, limits.handshake, groups.buffer_bytes, builder, acceptors));
      if (servers.back() == nullptr) return false;
    }
    return true;
  };
  std::vector<std::unique_ptr<ConnectionGate::Acceptor>> of_hosts, of_this_machine;
  if (!add(limits.hosts, of_hosts) || !add(limits.this_machine, of_this_machine)) return NoServer(listen);
  gate->Open(std::move(of_hosts), OpeningOf(security), std::move(of_this_machine));
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(gate), std::move(servers)));
}

GrpcServer::~GrpcServer() { Shutdown(std::chrono::milliseconds(0)); }

void GrpcServer::Shutdown(std::chrono::milliseconds grace) {
  gate_->Close();
  const auto until = std::chrono::system_clock::now() + grace;
  std::vector<std::jthread> waiting;
  for (const std::unique_ptr<grpc::Server>& server : servers_) {
    waiting.emplace_back([&server, until] { server->Shutdown(until); });
  }
}

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& listen) {
  ASSIGN_OR_RETURN(std::unique_ptr<ConnectionGate> gate, ConnectionGate::Listen(listen, kHealthConnections));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxHealthMessageBytes);
  // A server needs a service of ours to be polled.
  auto nothing = std::make_unique<grpc::CallbackGenericService>();  // answers UNIMPLEMENTED
  builder.RegisterCallbackGenericService(nothing.get());
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);  // probes are no calls (common/calls_begun.h)
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kHealthIdleMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kHealthAgeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kHealthGraceMs);
  const std::shared_ptr<const Security> none = *Security::Create({});
  std::vector<std::unique_ptr<ConnectionGate::Acceptor>> acceptors;
  std::unique_ptr<grpc::Server> server =
      BuildServer(*none, ServerLimits().handshake, kHealthBufferBytes, builder, acceptors);
  grpc::EnableDefaultHealthCheckService(false);
  if (server == nullptr) return NoServer(listen);
  gate->Open(std::move(acceptors), OpeningOf(*none));
  std::unique_ptr<HealthServer> health(new HealthServer(std::move(nothing), std::move(gate), std::move(server)));
  health->SetServing(false);
  return health;
}

HealthServer::~HealthServer() {
  gate_->Close();
  server_->Shutdown(std::chrono::system_clock::now());
}

void HealthServer::SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus(serving); }

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const Security& security) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, kAnyNumberOfPings);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // In spite of its name: how long an attempt to connect may take. It does not delay the next one.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Channels to one address would otherwise share a connection, and a burst on one delay the others.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, security.ForChannel(), arguments);
}

void TuneAllocatorForStreaming() {
  mallopt(M_MMAP_THRESHOLD, 256 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

}  // namespace headrace
