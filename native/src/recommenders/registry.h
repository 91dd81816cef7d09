// The table of recommenders. A model is one entry, which a function in the model's own file gives;
// the table in registry.cpp lists these functions. No other code knows a model by its name.
#pragma once

#include "recommender.h"

#include <map>

namespace ri {

// A named setting that a model takes: one number, or a list of numbers.
struct Setting {
    const char *name;
    double least, most;
    bool whole;                                                  // only whole numbers
    double otherwise = std::numeric_limits<double>::quiet_NaN(); // of one number that is not given; NaN: it must be
    size_t least_count = 1, most_count = 1;
};

inline Setting whole_number(const char *name, double least, double most) { return {name, least, most, true}; }
inline Setting whole_number(const char *name, double least, double most, double otherwise) {
    return {name, least, most, true, otherwise};
}

struct Entry;

// The layout and the settings that a caller has chosen, with the entry's defaults for those left
// out. What a model reads here lies within its entry's bounds.
class Settings {
  public:
    // Throws what is wrong: the setting, its value, and what is allowed.
    Settings(const Entry &entry, const char *layout, const ri_setting *settings, size_t n);

    const std::string &layout() const { return layout_; }
    int32_t whole(const char *name) const { return int32_t(number(name)); }
    double number(const char *name) const { return list(name).at(0); }
    const std::vector<double> &list(const char *name) const { return values_.at(name); }
    // Throws that a setting has a value that does not go with the others.
    [[noreturn]] void refuse(const char *name, const std::string &allowed) const;

  private:
    std::string model_, layout_;
    std::map<std::string, std::vector<double>> values_;
};

struct Entry {
    std::string name;
    std::vector<std::string> layouts; // the first is the default
    std::vector<Setting> settings;
    std::unique_ptr<Recommender> (*create)(std::shared_ptr<Engine> engine, const Settings &settings);
};

// The settings that all models take, followed by a model's own.
std::vector<Setting> with_sizes(std::vector<Setting> own, double most_width = 1 << 16);

// Makes a recommender of class T.
template <typename T> std::unique_ptr<Recommender> make(std::shared_ptr<Engine> engine, const Settings &settings) {
    return std::make_unique<T>(std::move(engine), settings);
}

Entry gru4rec();
Entry caser();
Entry sasrec();
Entry bert4rec();
Entry hstu();
Entry dreamrec();

} // namespace ri
