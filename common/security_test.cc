// Doors that are closed: who is turned away, and with which status.
#include "common/security.h"

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/client_stream.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/security_testing.h"
#include "common/test_peer.h"
#include "gmock/gmock.h"
#include "grpc/support/log.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using SecurityTest = EchoServerTest;

TEST_F(SecurityTest, PeersOfOneAuthorityWithTheTokenTalk) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  const absl::Status status = AskAs(*OpenSecurity(authority_.Issue("client")));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(Counted("token"));
  EXPECT_FALSE(Counted("handshake"));
}

TEST_F(SecurityTest, AWrongTokenIsUnauthenticated) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  const std::string client = authority_.Issue("client");
  ASSERT_TRUE(WriteFileAtomically(client + "/token", "another-token-of-some-length\n").ok());
  testing::internal::CaptureStderr();
  EXPECT_TRUE(absl::IsUnauthenticated(AskAs(*OpenSecurity(client))));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              ContainsRegex("certificate for .*is turned away: it has no accepted"));
  EXPECT_TRUE(Counted("token"));
  EXPECT_THAT(registry_.Text(), HasSubstr("headrace_rpc_unheard_calls 0\n"));
  EXPECT_TRUE(AskAs(*OpenSecurity(authority_.Issue("other"))).ok());
}

TEST_F(SecurityTest, NoTokenIsUnauthenticated) {
  const std::string client = authority_.Issue("client");
  Serve(*OpenSecurity(authority_.Issue("server")));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = *ReadFile(client + "/ca.crt");
  options.pem_cert_chain = *ReadFile(client + "/tls.crt");
  options.pem_private_key = *ReadFile(client + "/tls.key");
  EXPECT_TRUE(absl::IsUnauthenticated(Ask(grpc::CreateChannel(address(), grpc::SslCredentials(options)))));
  EXPECT_TRUE(Counted("token"));
}

TEST_F(SecurityTest, ATokenIsReplacedWhileBothSidesRun) {
  const std::string server = authority_.Issue("server"), client = authority_.Issue("client");
  Serve(*OpenSecurity(server));
  const auto channel = MakeChannel(address(), *OpenSecurity(client));
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(server + "/token", absl::StrCat(kTestToken, "\na-new-token-of-some-length\n")).ok());
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(client + "/token", "a-new-token-of-some-length\n").ok());
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(server + "/token", "the-newest-token-of-all\n").ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Ask(channel)));
}

TEST_F(SecurityTest, NoCertificateIsNoConnection) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = *ReadFile(authority_.certificate());
  EXPECT_TRUE(absl::IsUnavailable(Ask(grpc::CreateChannel(address(), grpc::SslCredentials(options)))));
  AwaitCount("handshake");
}

TEST_F(SecurityTest, AnExpiredCertificateIsNoConnection) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  EXPECT_TRUE(absl::IsUnavailable(AskAs(*OpenSecurity(authority_.Issue("client", /*days=*/-1)))));
  AwaitCount("handshake");
}

TEST_F(SecurityTest, WhatGrpcSaysOfAHandshakeIsLoggedWithoutPlacesInItsSources) {
  std::string log;
  while (log.empty()) {  // there are no more than some lines a second, which other tests may have used up
    testing::internal::CaptureStderr();
    gpr_log("a.cc", 1, GPR_LOG_SEVERITY_DEBUG, "%s",
            "Handshaking failed: UNKNOWN:the cause {file_line:1, children:[INTERNAL:closed "
            "{target_address:\"ipv4:1.2\"}]}");
    log = testing::internal::GetCapturedStderr();
  }
  EXPECT_THAT(log, EndsWith("gRPC: Handshaking failed: UNKNOWN:the cause (ipv4:1.2)\n"));
  EXPECT_TRUE(Counted("handshake"));
}

TEST_F(SecurityTest, WhatGrpcSaysOfTheEndOfACallIsLoggedWithItsReason) {
  std::string log;
  while (log.empty()) {
    testing::internal::CaptureStderr();
    gpr_log("a.cc", 1, GPR_LOG_SEVERITY_DEBUG, "%s", "set_final_status SVR");
    gpr_log("a.cc", 1, GPR_LOG_SEVERITY_DEBUG, "%s",
            "UNKNOWN:Error received from peer ipv4:1.2 {grpc_message:\"Received message larger than max (9 vs. 8)\"}");
    log = testing::internal::GetCapturedStderr();
  }
  EXPECT_THAT(log,
              EndsWith("gRPC: UNKNOWN:Error received from peer ipv4:1.2: a message or its headers are too large\n"));
  EXPECT_TRUE(Counted("size"));
}

TEST_F(SecurityTest, ACertificateOfAnotherAuthorityIsNoConnection) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  const std::string client = TestAuthority("other").Issue("client");
  // It knows the server's authority, so that it is the server that refuses.
  std::filesystem::copy_file(authority_.certificate(), client + "/ca.crt",
                             std::filesystem::copy_options::overwrite_existing);
  const std::shared_ptr<const Security> security = OpenSecurity(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("not accept ", client, "/tls.crt"))) << status;
  AwaitCount("handshake");
}

TEST_F(SecurityTest, AServerOfAnotherAuthorityIsNotTrusted) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  const std::string client = TestAuthority("other").Issue("client");
  const std::shared_ptr<const Security> security = OpenSecurity(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("not of the authority of ", client, "/ca.crt"))) << status;
}

TEST_F(SecurityTest, AServerWithTheCertificateOfAnotherHostIsNotTrusted) {
  Serve(*OpenSecurity(authority_.Issue("server", 2, "127.0.0.9")));
  const std::string client = authority_.Issue("client");
  const std::shared_ptr<const Security> security = OpenSecurity(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("for other names: `tools/headrace certificates ", client)))
      << status;
}

TEST_F(SecurityTest, PlainTextToAnEncryptedPortIsNoConnection) {
  Serve(*OpenSecurity(authority_.Issue("server")));
  const absl::Status status = AskAs(*NoSecurity());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(NoSecurity()->Hint(status), HasSubstr("only where --certificates are given")) << status;
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*OpenSecurity(authority_.Issue("client"))).ok());
}

TEST_F(SecurityTest, EncryptedToAPlainPortIsNoConnection) {
  Serve(*NoSecurity());
  const std::shared_ptr<const Security> security = OpenSecurity(authority_.Issue("client"));
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr("it may serve without certificates")) << status;
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
}

TEST_F(SecurityTest, ACauseThatIsNotOfCertificatesHasNoHint) {
  EXPECT_EQ(NoSecurity()->Hint(absl::UnavailableError("Connection refused")), "");
  EXPECT_EQ(NoSecurity()->Hint(absl::DeadlineExceededError("the handshake took too long")), "");
}

TEST_F(SecurityTest, AnotherProtocolToAPlainPortIsNoConnection) {
  Serve(*NoSecurity());
  const TestPeer browser(address());
  browser.Send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_FALSE(browser.Answered());
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
}

// The server goes over to another authority: who has a certificate of that one gets in, without a restart.
TEST_F(SecurityTest, CertificatesAreReadAgain) {
  const std::string server = authority_.Issue("server");
  Serve(*OpenSecurity(server));
  const TestAuthority next("next");
  const auto channel = MakeChannel(address(), *OpenSecurity(next.Issue("client")));
  EXPECT_TRUE(absl::IsUnavailable(Ask(channel)));
  const std::string renewed = next.Issue("server");
  for (const char* const file : {"/tls.key", "/tls.crt", "/ca.crt"}) {
    ASSERT_TRUE(WriteFileAtomically(server + file, *ReadFile(renewed + file)).ok());
  }
  EXPECT_TRUE(Ask(channel, /*wait=*/true).ok());
}

TEST_F(SecurityTest, WhatOthersCanReachIsClosedUnlessSaidOtherwise) {
  for (const char* const listen : {"0.0.0.0:0", "[::]:0", "127.example.org:0"}) {
    const auto server = GrpcServer::Start(listen, {&service_}, nullptr, *NoSecurity());
    EXPECT_TRUE(absl::IsFailedPrecondition(server.status())) << server.status();
    EXPECT_THAT(std::string(server.status().message()), HasSubstr("--certificates"));
  }
  EXPECT_TRUE(GrpcServer::Start("0.0.0.0:0", {&service_}, nullptr, **Security::Create({.insecure = true})).ok());
  EXPECT_TRUE(GrpcServer::Start("0.0.0.0:0", {&service_}, nullptr, *OpenSecurity(authority_.Issue("server"))).ok());
}

TEST_F(SecurityTest, WhatIsMissingIsNamed) {
  const std::string directory = authority_.Issue("server");
  const auto message = [](const SecurityOptions& options) {
    const absl::Status status = Security::Create(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message({.certificates = directory}), HasSubstr("--token_file"));
  EXPECT_THAT(message({.token_file = directory + "/token"}), HasSubstr("--certificates"));
  EXPECT_THAT(message({.certificates = directory, .token_file = "/nowhere/token"}), HasSubstr("/nowhere/token"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/token", "short\n").ok());
  EXPECT_THAT(message({.certificates = directory, .token_file = directory + "/token"}), HasSubstr("16 characters"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/tls.key", "no key").ok());
  EXPECT_THAT(message({.certificates = directory, .token_file = directory + "/token"}), HasSubstr("tls.key"));
}

TEST_F(SecurityTest, HealthAnswersNothingElse) {
  // A server that offers reflection once made every later one of the process offer it.
  Serve(*NoSecurity());
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  const auto channel = MakeChannel(health->address(), *NoSecurity());
  EXPECT_TRUE(absl::IsUnimplemented(Ask(channel)));
  std::promise<absl::Status> closed;
  const auto reflection = ClientStream::Open(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                             {.message = [](const grpc::ByteBuffer&) {},
                                              .closed = [&](const absl::Status& status) { closed.set_value(status); }});
  const grpc::Slice request("anything");
  reflection->Send(grpc::ByteBuffer(&request, 1));
  const absl::Status status = closed.get_future().get();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
}

}  // namespace
}  // namespace headrace
