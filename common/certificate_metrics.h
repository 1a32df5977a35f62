// Until when the certificates of this process are valid, as a metric that is read anew for each page:
// headrace_certificate_expiry_timestamp_seconds.
#ifndef HEADRACE_COMMON_CERTIFICATE_METRICS_H_
#define HEADRACE_COMMON_CERTIFICATE_METRICS_H_

#include <string>

#include "common/metrics.h"

namespace headrace {

// Of those in `directory` (common/certificates.h). Empty: the metric has no value, and is only declared.
void ExportCertificateExpiry(const std::string& directory, MetricRegistry& registry);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CERTIFICATE_METRICS_H_
