#include "recommenders/registry.h"

#include <algorithm>
#include <cmath>

namespace ri {

namespace {

const std::vector<Entry> &entries() {
    static const std::vector<Entry> all = {gru4rec(), caser(), sasrec(), bert4rec(), hstu(), dreamrec()};
    return all;
}

template <typename Items, typename Name> std::string names(const Items &items, Name name) {
    std::string all;
    for (const auto &item : items) all += (all.empty() ? "" : ", ") + std::string(name(item));
    return all;
}

const Entry &find(const char *name) {
    for (const Entry &entry : entries())
        if (entry.name == name) return entry;
    fail(RI_INVALID, "no recommender is called \"%s\"; known are %s", name,
         names(entries(), [](const Entry &e) { return e.name; }).c_str());
}

std::string text_of(double number) {
    char text[32];
    snprintf(text, sizeof text, "%.9g", number);
    return text;
}

std::string range_of(const Setting &s) {
    return (s.whole ? "a whole number from " : "") + text_of(s.least) + " to " + text_of(s.most);
}

// The values that a caller gives a setting.
std::vector<double> values_of(const Entry &entry, const Setting &s, const ri_setting &given) {
    if (given.n_values < s.least_count || given.n_values > s.most_count)
        fail(RI_INVALID, "%s: %s has %zu values; it must have %zu to %zu", entry.name.c_str(), s.name, given.n_values,
             s.least_count, s.most_count);
    if (given.n_values > 0) require(given.values, s.name);
    for (size_t i = 0; i < given.n_values; ++i)
        if (const double x = given.values[i]; !(x >= s.least && x <= s.most) || (s.whole && x != std::floor(x)))
            fail(RI_INVALID, "%s: %s is %s; it must be %s", entry.name.c_str(), s.name, text_of(x).c_str(),
                 range_of(s).c_str());
    return {given.values, given.values + given.n_values};
}

} // namespace

Settings::Settings(const Entry &entry, const char *layout, const ri_setting *settings, size_t n)
    : model_(entry.name), layout_(layout && *layout ? layout : entry.layouts.front()) {
    if (std::find(entry.layouts.begin(), entry.layouts.end(), layout_) == entry.layouts.end())
        fail(RI_INVALID, "%s has no layout \"%s\"; it has %s", model_.c_str(), layout_.c_str(),
             names(entry.layouts, [](const std::string &name) { return name; }).c_str());
    if (n > 0) require(settings, "settings");
    for (size_t i = 0; i < n; ++i) {
        require(settings[i].name, "the name of a setting");
        const auto known = std::find_if(entry.settings.begin(), entry.settings.end(),
                                        [&](const Setting &s) { return strcmp(s.name, settings[i].name) == 0; });
        if (known == entry.settings.end())
            fail(RI_INVALID, "%s has no setting \"%s\"; it has %s", model_.c_str(), settings[i].name,
                 names(entry.settings, [](const Setting &s) { return s.name; }).c_str());
        if (!values_.emplace(known->name, values_of(entry, *known, settings[i])).second)
            fail(RI_INVALID, "%s: %s is given twice", model_.c_str(), known->name);
    }
    for (const Setting &s : entry.settings) {
        if (values_.count(s.name) > 0) continue;
        if (s.least_count > 0 && std::isnan(s.otherwise))
            fail(RI_INVALID, "%s: %s is missing; it must be %s", model_.c_str(), s.name, range_of(s).c_str());
        values_[s.name] = s.least_count > 0 ? std::vector<double>{s.otherwise} : std::vector<double>{};
    }
}

void Settings::refuse(const char *name, const std::string &allowed) const {
    fail(RI_INVALID, "%s: %s is %s; it must be %s", model_.c_str(), name, names(list(name), text_of).c_str(),
         allowed.c_str());
}

std::vector<Setting> with_sizes(std::vector<Setting> own, double most_width) {
    std::vector<Setting> all = {whole_number("items", 1, 1 << 28), whole_number("width", 1, most_width),
                                whole_number("positions", 1, 1 << 14)};
    all.insert(all.end(), own.begin(), own.end());
    return all;
}

} // namespace ri

extern "C" ri_status ri_recommender_create(ri_engine *engine, const char *model, const char *layout,
                                           const ri_setting *settings, size_t n_settings, ri_model **out,
                                           ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(model, "model");
        ri::require(out, "out");
        const ri::Entry &entry = ri::find(model);
        const ri::Settings chosen(entry, layout, settings, n_settings);
        auto handle = std::make_unique<ri_model>();
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        handle->impl = entry.create(engine->impl, chosen);
        *out = handle.release();
    });
}
