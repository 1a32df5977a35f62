// What is wrong with the certificates that a process is given, before its peers find out.
//
//   RETURN_IF_ERROR(CheckCertificateFiles(directory));
//   ASSIGN_OR_RETURN(const CertificateValidity validity, ReadCertificateValidity(directory));
//
// A directory has tls.crt and tls.key, the certificate that the process shows, with those between it and its authority,
// and its key; and ca.crt, the authorities whose certificates it accepts. All in PEM, the key without a password.
// Thread-safe.
#ifndef HEADRACE_COMMON_CERTIFICATES_H_
#define HEADRACE_COMMON_CERTIFICATES_H_

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headrace {

inline constexpr char kAuthorityFile[] = "/ca.crt";
inline constexpr char kCertificateFile[] = "/tls.crt";
inline constexpr char kKeyFile[] = "/tls.key";

// INVALID_ARGUMENT: a file is missing, does not hold what it should, or the key is another certificate's.
absl::Status CheckCertificateFiles(const std::string& directory);

// In which the certificate is valid and so is everything between it and its authority.
struct CertificateValidity {
  std::chrono::system_clock::time_point begin, end;
};

// INVALID_ARGUMENT: as above, or no authority in ca.crt vouches for the certificate as one of a server and a client,
// which every process is to others; so they would not accept it.
absl::StatusOr<CertificateValidity> ReadCertificateValidity(const std::string& directory);

// INVALID_ARGUMENT: as above, or not valid at this moment, or not for all of these names and addresses, by which others
// would know the process.
absl::Status CheckCertificates(const std::string& directory, std::chrono::system_clock::time_point now,
                               const std::vector<std::string>& names = {});

}  // namespace headrace

#endif  // HEADRACE_COMMON_CERTIFICATES_H_
