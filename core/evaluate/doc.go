// Package evaluate measures how often answers name the right item.
package evaluate
