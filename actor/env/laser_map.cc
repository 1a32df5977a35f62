#include "actor/env/laser_map.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/random.h"

namespace headrace {
namespace {

constexpr uint64_t kFirstKey = 0x4c617365724d6170;  // of the streams that draw maps

// In cells.
constexpr int kCorridor = 6;
constexpr int kMinRoom = 8;
constexpr int kMinDoor = 4;
constexpr int kMaxDoor = 6;
constexpr int kLongWall = 20;  // gets two doors
constexpr int kMaxFurniture = 4;
constexpr int kPassage = 3;  // around furniture

constexpr int kWallTrials = 10;
constexpr int kFurnitureTrials = 40;

// Lengths of steps over the grid in fifths of a cell: 7/5 is the square root of 2, nearly.
constexpr int kStraight = 5;
constexpr int kDiagonal = 7;

int Between(RandomStream& random, int low, int high) {
  return low + static_cast<int>(random.Below(static_cast<uint64_t>(high - low + 1)));
}

}  // namespace

// Draws walls and boxes into an empty plan.
class LaserMap::Builder {
 public:
  explicit Builder(uint64_t number) : random_(kFirstKey + number) {
    for (int i = 0; i < kCells; ++i) {
      for (const Cell& cell : {Cell{i, 0}, Cell{i, kCells - 1}, Cell{0, i}, Cell{kCells - 1, i}}) Set(cell, true);
    }
  }

  Rows Build() {
    constexpr int kInnermost = 1, kOutermost = kCells - 2;
    const bool across = random_.Below(2) == 1;
    const int first = Between(random_, kInnermost + kMinRoom, kOutermost - kMinRoom - kCorridor - 1);
    const int second = first + kCorridor + 1;
    for (const int wall : {first, second}) Wall(across, wall, kInnermost, kOutermost);
    if (across) {
      Divide(kInnermost, kInnermost, kOutermost, first - 1);
      Divide(kInnermost, second + 1, kOutermost, kOutermost);
    } else {
      Divide(kInnermost, kInnermost, first - 1, kOutermost);
      Divide(second + 1, kInnermost, kOutermost, kOutermost);
    }
    for (int trial = 0; trial < kFurnitureTrials; ++trial) Furnish();
    return rows_;
  }

 private:
  void Set(Cell cell, bool wall) {
    const uint64_t bit = uint64_t{1} << cell.column;
    rows_[cell.row] = wall ? rows_[cell.row] | bit : rows_[cell.row] & ~bit;
  }

  bool occupied(Cell cell) const { return (rows_[cell.row] >> cell.column & 1) != 0; }

  // The cell at `along` of a wall at `position`, which runs along a row if `across`, else along a column.
  static Cell At(bool across, int position, int along) {
    return across ? Cell{along, position} : Cell{position, along};
  }

  void Wall(bool across, int position, int from, int to) {
    for (int i = from; i <= to; ++i) Set(At(across, position, i), true);
    const int doors = to - from + 1 >= kLongWall ? 2 : 1;
    for (int door = 0; door < doors; ++door) {
      const int low = from + door * (to - from + 1) / doors, high = from + (door + 1) * (to - from + 1) / doors - 1;
      const int width = Between(random_, kMinDoor, kMaxDoor);
      const int start = Between(random_, low, high - width + 1);
      for (int i = start; i < start + width; ++i) Set(At(across, position, i), false);
    }
  }

  // A wall must not end in a door.
  bool EndsInWalls(bool across, int position, int from, int to) const {
    for (int i = position - 1; i <= position + 1; ++i) {
      if (!occupied(At(across, i, from - 1)) || !occupied(At(across, i, to + 1))) return false;
    }
    return true;
  }

  // Splits an empty rectangle, bounds included, into rooms.
  void Divide(int left, int top, int right, int bottom) {
    const int width = right - left + 1, height = bottom - top + 1;
    const bool across = height > width;
    const int low = across ? top : left, high = across ? bottom : right;
    if (high - low + 1 < 2 * kMinRoom + 1) return;
    const int from = across ? left : top, to = across ? right : bottom;
    for (int trial = 0; trial < kWallTrials; ++trial) {
      const int position = Between(random_, low + kMinRoom, high - kMinRoom);
      if (!EndsInWalls(across, position, from, to)) continue;
      Wall(across, position, from, to);
      if (across) {
        Divide(left, top, right, position - 1);
        Divide(left, position + 1, right, bottom);
      } else {
        Divide(left, top, position - 1, bottom);
        Divide(position + 1, top, right, bottom);
      }
      return;
    }
  }

  // A box somewhere, if there is a passage all around.
  void Furnish() {
    const int width = Between(random_, 1, kMaxFurniture), height = Between(random_, 1, kMaxFurniture);
    const int left = Between(random_, kPassage, kCells - kPassage - width);
    const int top = Between(random_, kPassage, kCells - kPassage - height);
    for (int row = top - kPassage; row < top + height + kPassage; ++row) {
      for (int column = left - kPassage; column < left + width + kPassage; ++column) {
        if (occupied({column, row})) return;
      }
    }
    for (int row = top; row < top + height; ++row) {
      for (int column = left; column < left + width; ++column) Set({column, row}, true);
    }
  }

  RandomStream random_;
  Rows rows_{};
};

LaserMap LaserMap::Generate(uint64_t number) { return LaserMap(Builder(number).Build()); }

LaserMap::LaserMap(const Rows& rows) : rows_(rows) {
  for (int row = 1; row < kCells - 1; ++row) {
    for (int column = 1; column < kCells - 1; ++column) {
      if (IsRoomy({column, row})) roomy_.push_back({column, row});
    }
  }
}

bool LaserMap::IsRoomy(Cell cell) const {
  const uint64_t around = uint64_t{7} << (cell.column - 1);
  return ((rows_[cell.row - 1] | rows_[cell.row] | rows_[cell.row + 1]) & around) == 0;
}

// Amanatides and Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing", Eurographics 1987. In units of cells.
double LaserMap::Ray(double x, double y, double direction_x, double direction_y, double range) const {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  x /= kCellSize;
  y /= kCellSize;
  Cell cell{static_cast<int>(x), static_cast<int>(y)};
  const int step_x = direction_x > 0 ? 1 : -1, step_y = direction_y > 0 ? 1 : -1;
  // The way from one border between columns, or rows, to the next, and to the first one.
  const double every_x = direction_x == 0 ? kNever : 1 / std::abs(direction_x);
  const double every_y = direction_y == 0 ? kNever : 1 / std::abs(direction_y);
  double next_x = direction_x == 0 ? kNever : (direction_x > 0 ? cell.column + 1 - x : x - cell.column) * every_x;
  double next_y = direction_y == 0 ? kNever : (direction_y > 0 ? cell.row + 1 - y : y - cell.row) * every_y;
  const double limit = range / kCellSize;
  for (;;) {
    double way;
    if (next_x < next_y) {
      way = next_x;
      next_x += every_x;
      cell.column += step_x;
    } else {
      way = next_y;
      next_y += every_y;
      cell.row += step_y;
    }
    if (way >= limit) return range;
    if (occupied(cell)) return way * kCellSize;
  }
}

bool LaserMap::Touches(double x, double y, double radius) const {
  const auto cell_of = [](double length) { return std::clamp(static_cast<int>(length / kCellSize), 0, kCells - 1); };
  for (int row = cell_of(y - radius); row <= cell_of(y + radius); ++row) {
    for (int column = cell_of(x - radius); column <= cell_of(x + radius); ++column) {
      if (!occupied({column, row})) continue;
      const double nearest_x = std::clamp(x, column * kCellSize, (column + 1) * kCellSize);
      const double nearest_y = std::clamp(y, row * kCellSize, (row + 1) * kCellSize);
      if (std::hypot(x - nearest_x, y - nearest_y) < radius) return true;
    }
  }
  return false;
}

// Dial's algorithm: Dijkstra's, with a list for each of the few lengths that wait at a time.
LaserMap::Distances LaserMap::DistancesTo(Cell goal) const {
  struct Move {
    int to;
    int length;
  };
  constexpr Move kMoves[] = {{-kCells - 1, kDiagonal}, {-kCells, kStraight},   {-kCells + 1, kDiagonal},
                             {-1, kStraight},          {1, kStraight},         {kCells - 1, kDiagonal},
                             {kCells, kStraight},      {kCells + 1, kDiagonal}};
  constexpr int kLists = kDiagonal + 1;
  constexpr int kClosed = -1, kUnreached = std::numeric_limits<int>::max();
  std::array<int, kCells * kCells> length;
  length.fill(kClosed);
  for (const Cell& cell : roomy_) length[cell.row * kCells + cell.column] = kUnreached;

  std::array<std::vector<int>, kLists> waiting;
  size_t count = 0;
  const auto reach = [&](int cell, int candidate) {
    if (candidate >= length[cell]) return;
    length[cell] = candidate;
    waiting[candidate % kLists].push_back(cell);
    ++count;
  };
  reach(goal.row * kCells + goal.column, 0);
  for (int current = 0; count > 0; ++current) {
    std::vector<int>& list = waiting[current % kLists];
    for (const int cell : list) {
      if (length[cell] != current) continue;  // there was a shorter way
      for (const Move& move : kMoves) reach(cell + move.to, current + move.length);
    }
    count -= list.size();
    list.clear();
  }

  Distances distances;
  std::transform(length.begin(), length.end(), distances.from_.begin(), [](int fifths) {
    return fifths == kClosed || fifths == kUnreached ? std::numeric_limits<float>::infinity()
                                                     : static_cast<float>(fifths * kCellSize / kStraight);
  });
  return distances;
}

double LaserMap::Distances::At(double x, double y) const {
  double shortest = std::numeric_limits<double>::infinity();
  const int column = static_cast<int>(x / kCellSize), row = static_cast<int>(y / kCellSize);
  for (int i = std::max(row - 1, 0); i <= std::min(row + 1, kCells - 1); ++i) {
    for (int j = std::max(column - 1, 0); j <= std::min(column + 1, kCells - 1); ++j) {
      const Cell cell{j, i};
      const double way = At(cell);
      if (way < shortest) shortest = std::min(shortest, way + std::hypot(x - cell.x(), y - cell.y()));
    }
  }
  return shortest;
}

}  // namespace headrace
