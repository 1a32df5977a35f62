#include "replay/item_store.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "common/check.h"

namespace headrace {
namespace {

constexpr uint32_t kLastGeneration = (1 << 24) - 1;
constexpr size_t kPagesAtATime = 128;  // 768 kB

const SelectorFacts& FactsOf(v1::Selector selector) {
  const SelectorFacts* const facts = FindSelector(selector);
  HEADRACE_CHECK(facts != nullptr);
  return *facts;
}

}  // namespace

bool IsPriority(float priority) { return priority >= 0 && priority <= std::numeric_limits<float>::max(); }

ItemStore::ItemStore(const v1::TableSpec& spec, size_t capacity, RowStore* rows)
    : max_times_sampled_(spec.max_times_sampled()),
      priority_exponent_(spec.has_priority_exponent() ? spec.priority_exponent() : 1),
      capacity_(capacity),
      rows_(rows),
      arrivals_(capacity),
      sampler_(FactsOf(spec.sampler()).make(capacity, &arrivals_)),
      remover_(FactsOf(spec.remover()).make(capacity, &arrivals_)),
      remover_may_find_none_(spec.remover() == v1::PROPORTIONAL) {
  slots_.reserve(capacity);
}

uint64_t ItemStore::BookBytes(v1::Selector sampler, v1::Selector remover) {
  return sizeof(Item) + sizeof(Arrivals::Link) + FactsOf(sampler).item_bytes + FactsOf(remover).item_bytes;
}

float ItemStore::Weight(float priority) const {
  if (priority_exponent_ == 1) return priority;
  // The highest priorities to a high power are more than a float holds.
  const double weight = std::pow(static_cast<double>(priority), priority_exponent_);
  return static_cast<float>(std::min<double>(weight, std::numeric_limits<float>::max()));
}

void ItemStore::Add(Item item) {
  HEADRACE_CHECK(size() < capacity_);
  uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Keep(slot);
  Keep(arrivals_.newest());
  item.generation = (slots_[slot].generation + 1) & kLastGeneration;
  slots_[slot] = item;
  RowStore::Address row = item.first_row;
  for (uint32_t left = item.rows_held(); left > 0; --left, row = rows_->Next(row)) rows_->Reference(row);
  if (size() == 0) least_rows_ = kMaxRows;
  least_rows_ = std::min<uint32_t>(least_rows_, item.rows);
  max_priority_ = std::max(max_priority_, item.priority);
  const float weight = Weight(item.priority);
  arrivals_.Add(slot);
  sampler_->Insert(slot, weight);
  remover_->Insert(slot, weight);
}

bool ItemStore::SetPriority(uint64_t key, float priority) {
  const auto slot = static_cast<uint32_t>(key);
  if (slot >= slots_.size() || slots_[slot].rows == 0 || slots_[slot].generation != key >> 32) return false;
  Keep(slot);
  slots_[slot].priority = priority;
  max_priority_ = std::max(max_priority_, priority);
  const float weight = Weight(priority);
  sampler_->Update(slot, weight);
  remover_->Update(slot, weight);
  return true;
}

void ItemStore::RemoveOne(RandomStream& random) {
  // Where all weights are 0 no item is more likely than another.
  const bool none = remover_may_find_none_ && remover_->drawable() == 0;
  Remove(none ? arrivals_.oldest() : remover_->Select(random).slot);
}

void ItemStore::Remove(uint32_t slot) {
  Keep(slot);
  Keep(arrivals_.older(slot));
  Keep(arrivals_.newer(slot));
  sampler_->Remove(slot);
  remover_->Remove(slot);
  arrivals_.Remove(slot);
  Item& item = slots_[slot];
  RowStore::Address row = item.first_row;
  for (uint32_t left = item.rows_held(); left > 0; --left) {
    // The link is read first: releasing the last reference gives the row away.
    const RowStore::Address next = left > 1 ? rows_->Next(row) : RowStore::kNoRow;
    rows_->Release(row);
    row = next;
  }
  item.rows = 0;
  free_.push_back(slot);
  ++removed_;
}

void ItemStore::Sample(RandomStream& random, bool distinct, std::span<Drawn> drawn) {
  if (distinct) return SampleDistinct(random, drawn);
  if (max_times_sampled_ > 0) {
    for (Drawn& one : drawn) {
      const Selector::Draw draw = sampler_->Select(random);
      one = Count(draw);
      if (slots_[draw.slot].times_sampled >= max_times_sampled_) Remove(draw.slot);
    }
    return;
  }
  // Some at a time, each step for all of them before the next step: they wait for memory together.
  std::array<Selector::Draw, 64> draws;
  for (size_t first = 0; first < drawn.size(); first += draws.size()) {
    const size_t count = std::min(draws.size(), drawn.size() - first);
    sampler_->SelectMany(random, {draws.data(), count});
    for (size_t i = 0; i < count; ++i) __builtin_prefetch(&slots_[draws[i].slot], 1);
    for (size_t i = 0; i < count; ++i) drawn[first + i] = Count(draws[i]);
  }
}

void ItemStore::SampleDistinct(RandomStream& random, std::span<Drawn> drawn) {
  std::vector<Selector::Draw> draws(drawn.size());
  sampler_->SelectDistinct(random, draws);
  for (const Selector::Draw& draw : draws) __builtin_prefetch(&slots_[draw.slot], 1);
  for (size_t i = 0; i < draws.size(); ++i) {
    drawn[i] = Count(draws[i]);
    if (max_times_sampled_ > 0 && slots_[draws[i].slot].times_sampled >= max_times_sampled_) Remove(draws[i].slot);
  }
}

ItemStore::Drawn ItemStore::Count(const Selector::Draw& draw) {
  Keep(draw.slot);
  Item& item = slots_[draw.slot];
  if (item.times_sampled < kMaxTimesSampled) ++item.times_sampled;
  return {static_cast<uint64_t>(item.generation) << 32 | draw.slot, item.first_row, item.rows, draw.probability,
          item.context};
}

void ItemStore::Copy::Reserve(size_t slots, size_t capacity) {
  slots_.reserve(capacity);
  links_.reserve(capacity);
  slots_.resize(slots);  // so that its pages are there, too
  links_.resize(slots);
}

void ItemStore::BeginCopy(Copy& copy) {
  HEADRACE_CHECK(copy_ == nullptr);
  copy.Reserve(slots_.size(), capacity_);
  copy.pages_.assign((slots_.size() + kPage - 1) / kPage, false);
  copy.next_page_ = 0;
  copy.oldest_ = arrivals_.oldest();
  copy.size_ = size();
  copy_ = &copy;
}

bool ItemStore::CopySome() {
  if (copy_ == nullptr) return false;
  for (size_t left = kPagesAtATime; left > 0 && copy_->next_page_ < copy_->pages_.size(); --left) {
    CopyPage(copy_->next_page_++);
  }
  if (copy_->next_page_ == copy_->pages_.size()) copy_ = nullptr;
  return copy_ != nullptr;
}

void ItemStore::CopyPage(size_t page) {
  if (copy_->pages_[page]) return;
  copy_->pages_[page] = true;
  const size_t begin = page * kPage;
  const size_t count = std::min(kPage, copy_->slots_.size() - begin);
  std::copy_n(&slots_[begin], count, &copy_->slots_[begin]);
  std::copy_n(&arrivals_.links()[begin], count, &copy_->links_[begin]);
}

}  // namespace headrace
