// Who may talk to this process, and how it proves who it is: mutual TLS and a bearer token, both from files. They are
// flags of a process, not part of the run's configuration, which is the same on one machine and in a cluster.
//
//   ASSIGN_OR_RETURN(auto security, Security::Create({.certificates = "/etc/headrace", .token_file = "..."}));
//   SetProcessSecurity(security);  // before the first server and the first channel
//
// Files are read again when they change: certificates within seconds, for connections made from then on, the token at
// each call. Thread-safe.
#ifndef HEADRACE_COMMON_SECURITY_H_
#define HEADRACE_COMMON_SECURITY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"

namespace headrace {

struct SecurityOptions {
  // A directory with tls.crt and tls.key, which this process shows both as server and as client, and ca.crt, whose
  // certificates it accepts: the names that Kubernetes gives them. Empty: no encryption, and no token.
  std::string certificates;
  // One token a line: as a client this process shows the first, as a server it accepts each, so that a token can be
  // replaced while processes run.
  std::string token_file;
  // Allows an address that others can reach although the two above are not given.
  bool insecure = false;
};

class Security {
 public:
  // INVALID_ARGUMENT: only one of the two is given, or a file is missing or not what it should be (named). Whether
  // others will accept the certificate is another question: CheckCertificates (common/certificates.h).
  static absl::StatusOr<std::shared_ptr<const Security>> Create(const SecurityOptions& options);

  bool encrypts() const { return provider_ != nullptr; }
  const std::string& certificates() const { return options_.certificates; }
  // FAILED_PRECONDITION: others than this machine can reach `listen`, HOST:PORT, and it is neither closed to strangers
  // nor said to be open on purpose.
  absl::Status CheckMayListen(const std::string& listen) const;

  // Calls without a token that is accepted are answered with UNAUTHENTICATED; a peer without a certificate that is
  // accepted gets no connection.
  std::shared_ptr<grpc::ServerCredentials> ForServer() const;
  std::shared_ptr<grpc::ChannelCredentials> ForChannel() const;

  // What may be wrong with the certificates of either side, in brackets, if a connection failed so as it does then.
  // Otherwise empty.
  std::string Hint(const absl::Status& failure) const;

 private:
  explicit Security(SecurityOptions options);

  const SecurityOptions options_;
  const std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider_;  // null: no encryption
};

// What servers and channels of this process use unless they are given another; at first, none.
void SetProcessSecurity(std::shared_ptr<const Security> security);
std::shared_ptr<const Security> ProcessSecurity();

}  // namespace headrace

#endif  // HEADRACE_COMMON_SECURITY_H_
