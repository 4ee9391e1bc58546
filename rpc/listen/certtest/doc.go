// Package certtest makes certificate authorities and certificates for tests, as
// files of the kind that flags name. Everything ends with the test's temporary
// directory; nothing here is fit for use elsewhere.
package certtest
