/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which kernels harm a process whose pages they protect. */
#include "track/release.h"

#include "t.h"

static void from_6_7_to_6_8_9(void)
{
	static const struct {
		const char *release, *signature;
		bool harmful;
	} of[] = {
		{ "5.10.0-46-cloud-amd64", "", false },
		{ "6.6.99", "", false },
		{ "6.7.0-68.fc40.x86_64", "", true },
		{ "6.7.12", "", true },
		{ "6.8.9-300.fc40.x86_64", "", true },
		{ "6.8.10", "", false },
		{ "6.9.0", "", false },
		{ "6.9", "", false },
		{ "6.12.118+deb13-cloud-amd64", "", false },
		{ "7.8.0", "", false },
		/* Ubuntu 24.04 before and after. */
		{ "6.8.0-31-generic", "Ubuntu 6.8.0-31.31-generic 6.8.1\n", true },
		{ "6.8.0-90-generic", "Ubuntu 6.8.0-90.91-generic 6.8.12\n", false },
		{ "6.8.0-90-generic", "", true },
		{ "6.8.0-90-generic", "something else\n", true },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++) {
		t_note("%s %s", of[i].release, of[i].signature);
		T_EQ(sdi_release_is_harmful(of[i].release, of[i].signature), of[i].harmful);
	}
}

int main(void)
{
	T_RUN(from_6_7_to_6_8_9);
	return t_done();
}
