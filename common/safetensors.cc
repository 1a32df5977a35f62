#include "common/safetensors.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using Json = nlohmann::json;

constexpr char kMetadataKey[] = "__metadata__";
constexpr size_t kLengthBytes = 8;
// The arrays begin at a multiple of this.
constexpr size_t kAlignment = 64;
// Of a header that is read. A tensor takes about 100 bytes of it.
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
// Of lists and objects in it: those of the header, of a tensor, and of its shape.
constexpr int kMaxDepth = 3;

struct TypeRecord {
  SafetensorsType type;
  const char* name;
  size_t bytes;
};

constexpr TypeRecord kTypes[] = {
    {SafetensorsType::kBool, "BOOL", 1}, {SafetensorsType::kU8, "U8", 1},   {SafetensorsType::kI8, "I8", 1},
    {SafetensorsType::kU16, "U16", 2},   {SafetensorsType::kI16, "I16", 2}, {SafetensorsType::kF16, "F16", 2},
    {SafetensorsType::kBf16, "BF16", 2}, {SafetensorsType::kU32, "U32", 4}, {SafetensorsType::kI32, "I32", 4},
    {SafetensorsType::kF32, "F32", 4},   {SafetensorsType::kU64, "U64", 8}, {SafetensorsType::kI64, "I64", 8},
    {SafetensorsType::kF64, "F64", 8},
};

const TypeRecord& RecordOf(SafetensorsType type) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes), [type](const TypeRecord& r) { return r.type == type; });
}

// Bytes that an array takes; nothing where that is more than any machine has.
std::optional<uint64_t> SizeOf(SafetensorsType type, const std::vector<uint64_t>& shape) {
  uint64_t size = ElementSize(type);
  // An empty array is of size 0, however long its other sides are.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  for (const uint64_t side : shape) {
    if (__builtin_mul_overflow(size, side, &size)) return std::nullopt;
  }
  return size;
}

template <typename... Args>
absl::Status Invalid(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat("safetensors: ", args...));
}

// What the header says of one array.
struct Entry {
  SafetensorsTensor tensor;
  uint64_t begin;
  uint64_t end;
};

bool IsUnsignedList(const Json& json) {
  return json.is_array() && std::all_of(json.begin(), json.end(), [](const Json& e) { return e.is_number_unsigned(); });
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const Json& json) {
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    return Invalid("expected dtype, shape and data_offsets of tensor \"", name, "\" and nothing else");
  }
  const Json& dtype = json["dtype"];
  const Json& shape = json["shape"];
  const Json& offsets = json["data_offsets"];
  const auto type = std::find_if(std::begin(kTypes), std::end(kTypes), [&dtype](const TypeRecord& record) {
    return dtype.is_string() && dtype.get_ref<const std::string&>() == record.name;
  });
  if (type == std::end(kTypes)) return Invalid("tensor \"", name, "\" has a dtype that is not known here");
  if (!IsUnsignedList(shape)) return Invalid("the shape of tensor \"", name, "\" is not a list of sizes");
  if (!IsUnsignedList(offsets) || offsets.size() != 2) {
    return Invalid("the data_offsets of tensor \"", name, "\" are not two numbers");
  }
  Entry entry = {{name, type->type, shape.get<std::vector<uint64_t>>(), {}}, offsets[0], offsets[1]};
  const std::optional<uint64_t> size = SizeOf(type->type, entry.tensor.shape);
  if (!size.has_value() || entry.end < entry.begin || entry.end - entry.begin != *size) {
    return Invalid("tensor \"", name, "\" has data_offsets [", entry.begin, ", ", entry.end, "], but its shape takes ",
                   size.has_value() ? absl::StrCat(*size) : "more than 2^64", " bytes");
  }
  return entry;
}

absl::Status ParseMetadata(const Json& json, std::map<std::string, std::string>* metadata) {
  if (!json.is_object()) return Invalid(kMetadataKey, " is not an object");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return Invalid(kMetadataKey, " has a value that is not a string, of \"", key, "\"");
    metadata->emplace(key, value.get<std::string>());
  }
  return absl::OkStatus();
}

// Goes through a header before it is held: the parser would resolve names that occur twice in silence, and take much
// memory for what lies deeper than a header goes.
class HeaderCheck final : public Json::json_sax_t {
 public:
  // What is wrong besides that it is no JSON object.
  const std::string& wrong() const { return wrong_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override {
    names_.emplace_back();
    return Begin();
  }
  bool end_object() override {
    names_.pop_back();
    return End();
  }
  bool start_array(size_t) override { return depth_ > 0 && Begin(); }
  bool end_array() override { return End(); }
  bool key(string_t& name) override {
    if (names_.back().insert(name).second) return true;
    wrong_ = absl::StrCat("the header has \"", name, "\" twice");
    return false;
  }
  bool parse_error(size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  bool Begin() {
    if (++depth_ <= kMaxDepth) return true;
    wrong_ = "the header has lists in lists";
    return false;
  }
  bool End() {
    --depth_;
    return true;
  }

  std::vector<std::set<std::string>> names_;  // of the objects that the text is in
  int depth_ = 0;
  std::string wrong_;
};

absl::StatusOr<Json> ParseHeader(std::string_view text) {
  HeaderCheck check;
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return Invalid(check.wrong().empty() ? "the header is not a JSON object" : check.wrong());
  }
  Json header = Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return Invalid("the header is not a JSON object");
  return header;
}

}  // namespace

size_t ElementSize(SafetensorsType type) { return RecordOf(type).bytes; }
std::string TypeName(SafetensorsType type) { return RecordOf(type).name; }

const SafetensorsTensor* SafetensorsContents::Find(std::string_view name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [name](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<std::string> WriteSafetensors(const std::vector<SafetensorsTensor>& tensors,
                                             const std::map<std::string, std::string>& metadata) {
  std::vector<const SafetensorsTensor*> order;
  for (const SafetensorsTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const SafetensorsTensor* a, const SafetensorsTensor* b) {
    return ElementSize(a->type) > ElementSize(b->type);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  for (const SafetensorsTensor* tensor : order) {
    if (SizeOf(tensor->type, tensor->shape) != tensor->bytes.size()) {
      return Invalid("tensor \"", tensor->name, "\" has ", tensor->bytes.size(),
                     " bytes, which its shape does not take");
    }
    if (tensor->name == kMetadataKey) return Invalid("no tensor can be called ", kMetadataKey);
    if (header.contains(tensor->name)) return Invalid("two tensors are called \"", tensor->name, "\"");
    const uint64_t end = offset + tensor->bytes.size();
    header[tensor->name] = {
        {"dtype", TypeName(tensor->type)}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error&) {
    return Invalid("a name or a metadata string is not UTF-8");
  }
  // Spaces after the header bring the arrays to their place.
  text.append(kAlignment - 1 - (kLengthBytes + text.size() - 1) % kAlignment, ' ');

  std::string file;
  file.reserve(kLengthBytes + text.size() + offset);
  for (size_t i = 0; i < kLengthBytes; ++i) file.push_back(static_cast<char>(text.size() >> (8 * i)));
  file += text;
  for (const SafetensorsTensor* tensor : order) file += tensor->bytes;
  return file;
}

absl::StatusOr<SafetensorsContents> ReadSafetensors(std::string_view file) {
  if (file.size() < kLengthBytes) return Invalid("the file has ", file.size(), " bytes, fewer than its first field");
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= uint64_t{static_cast<uint8_t>(file[i])} << (8 * i);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size() - kLengthBytes) {
    return Invalid("a header of ", header_bytes, " bytes in a file of ", file.size(),
                   header_bytes > kMaxHeaderBytes ? absl::StrCat("; at most ", kMaxHeaderBytes, " are read") : "");
  }
  ASSIGN_OR_RETURN(const Json header, ParseHeader(file.substr(kLengthBytes, header_bytes)));
  const std::string_view data = file.substr(kLengthBytes + header_bytes);

  SafetensorsContents contents;
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == kMetadataKey) {
      RETURN_IF_ERROR(ParseMetadata(json, &contents.metadata));
      continue;
    }
    ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, json));
    entries.push_back(std::move(entry));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0;
  for (Entry& entry : entries) {
    if (entry.begin != end) {
      return Invalid("tensor \"", entry.tensor.name, "\" begins at ", entry.begin, ", but the one before it ends at ",
                     end);
    }
    if (entry.end > data.size()) {
      return Invalid("tensor \"", entry.tensor.name, "\" ends at ", entry.end, " of ", data.size(),
                     " bytes: the file is truncated");
    }
    entry.tensor.bytes = data.substr(entry.begin, entry.end - entry.begin);
    end = entry.end;
    contents.tensors.push_back(std::move(entry.tensor));
  }
  if (end != data.size()) return Invalid(data.size() - end, " bytes after the last tensor");
  return contents;
}

}  // namespace headrace
