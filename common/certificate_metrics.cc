#include "common/certificate_metrics.h"

#include "absl/status/statusor.h"
#include "common/certificates.h"
#include "common/seconds.h"

namespace headrace {

void ExportCertificateExpiry(const std::string& directory, MetricRegistry& registry) {
  const GaugeFamily family =
      registry.AddGaugeFamily("headrace_certificate_expiry_timestamp_seconds",
                              "Until when the certificates in --certificates are valid, in seconds since 1970; NaN: "
                              "there is something wrong with them.",
                              {});
  if (directory.empty()) return;
  registry.OnPage([directory, &expiry = family.With({})] {
    const absl::StatusOr<CertificateValidity> validity = ReadCertificateValidity(directory);
    expiry.Set(validity.ok() ? Seconds(validity->end.time_since_epoch()) : kNotKnownYet);
  });
}

}  // namespace headrace
